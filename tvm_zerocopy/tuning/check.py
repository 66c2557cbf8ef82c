"""``tune --check``: does every record of a log still apply and compile with this TVM?"""

from __future__ import annotations

import tvm
from tvm import s_tir
from tvm.target import Target

from . import log


def check(folder, on_record=lambda done, total: None) -> dict:
    """Apply and compile each record of a log.

    Returns
    -------
    dict
        ``records``, ``workloads``: how many were read; ``applied``, ``compiled``: how many of them still work;
        ``problems``: one line for each that does not, and for each line of the files that cannot be read.
    """
    found = log.read(folder)
    problems = list(found.problems)
    applied = compiled = 0
    for number, record in enumerate(found.records, start=1):
        on_record(number, len(found.records))
        sch = s_tir.Schedule(record.workload.mod)
        try:
            record.trace.apply_to_schedule(sch, remove_postproc=False)
        except Exception as error:
            problems.append(f"record {number} does not apply: {_last_line(error)}")
            continue
        applied += 1
        try:
            tvm.tirx.build(sch.mod, target=Target(record.target))
        except Exception as error:
            problems.append(f"record {number} does not compile: {_last_line(error)}")
            continue
        compiled += 1
    return {
        "records": len(found.records),
        "workloads": len(found.workloads),
        "applied": applied,
        "compiled": compiled,
        "problems": problems,
    }


def _last_line(error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
