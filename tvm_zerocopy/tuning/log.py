"""Tuning logs on disk: MetaSchedule's own JSON records, read as far as they are valid, written whole or not at all.

A log is a folder with MetaSchedule's two files: one line a workload (``database_workload.json``), one line a record
(``database_tuning_record.json``, which refers to workloads by line number). Its JSON database stops at the first
line it cannot read; a run that was killed leaves such a line. Here every line is checked by itself. Published logs keep
their workloads packed (``database_workload.json.xz``; ``unxz`` gives MetaSchedule's file): they are base64 of JSON, and
much alike over distances that gzip does not see.
"""

from __future__ import annotations

import json
import lzma
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from ..ir_build import intermediate_representation
from .catalog import REJECTED
from .meta_schedule import ms
from .times import FAILED_SECONDS, median

JSONDatabase, MemoryDatabase = ms.database.JSONDatabase, ms.database.MemoryDatabase
TuningRecord, Workload = ms.database.TuningRecord, ms.database.Workload
shash2hex = ms.utils.shash2hex

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"
PRESET = 9 | lzma.PRESET_EXTREME


@dataclass
class Log:
    """The valid part of a tuning log.

    Attributes
    ----------
    records : list of TuningRecord
        With a measured time each.
    workloads : list of Workload
    problems : list of str
        One line for each line that was left out, with its file, number and reason.
    """

    records: list = field(default_factory=list)
    workloads: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    def database(self) -> ms.Database:
        """The records as a MetaSchedule database in memory."""
        database = MemoryDatabase()
        for record in self.records:
            database.commit_workload(record.workload.mod)
            database.commit_tuning_record(record)
        return database


def seconds(record: TuningRecord) -> float:
    """A record's time: the median of its repeats (infinite if the candidate failed)."""
    return median(record.run_secs or [])


def read(folder) -> Log:
    """Read a log, leaving out (and naming) every line that does not parse or belongs to another TVM's workloads."""
    folder = Path(folder)
    log = Log()
    _register_intrinsics()
    by_line = {}
    for number, text in _lines(folder / WORKLOADS, log.problems):
        try:
            by_line[number] = _workload(_parse(text))
        except Exception as error:
            log.problems.append(f"{WORKLOADS} line {number + 1}: {_first_line(error)}")
    for number, text in _lines(folder / RECORDS):
        try:
            index, body = _parse(text)
            if index not in by_line:
                raise ValueError(f"its workload, line {index + 1} of {WORKLOADS}, is missing or invalid")
            log.records.append(TuningRecord.from_json(body, by_line[index]))
        except Exception as error:
            log.problems.append(f"{RECORDS} line {number + 1}: {_first_line(error)}")
    log.workloads = list(by_line.values())
    return log


def _register_intrinsics() -> None:
    """Make known what traces of our schedules name: a record that names an unknown intrinsic does not parse."""
    if intermediate_representation() == "relax":
        from ..schedules.cuda import wmma

        wmma.register()


def _parse(text: str):
    # MetaSchedule writes printable ASCII, and its parser knows no \\u escapes
    if not text.isascii() or not text.isprintable() or "\\u" in text:
        raise ValueError("it has characters that no log has")
    return json.loads(text)


def _workload(body) -> Workload:
    workload = Workload.from_json(body)
    if int(shash2hex(workload.mod), 16) != int(body[0]):
        raise ValueError("its hash is not the one this TVM computes; it was written by another version")
    return workload


def best_bodies(folder) -> tuple[dict, list]:
    """The fastest record of each workload as MetaSchedule's JSON, without building a single TVM object.

    Returns
    -------
    ({workload hash: (seconds, record body)}, problems)
    """
    folder, problems = Path(folder), []
    hashes, found = {}, {}
    for number, text in _lines(folder / WORKLOADS, problems):
        try:
            hashes[number] = f"0x{int(_parse(text)[0]):016x}"
        except (ValueError, TypeError, IndexError, KeyError) as error:
            problems.append(f"{WORKLOADS} line {number + 1}: {_first_line(error)}")
    for number, text in _lines(folder / RECORDS, problems):
        try:
            index, body = _parse(text)
            key, elapsed = hashes[index], median(body[1])
        except (ValueError, TypeError, IndexError, KeyError) as error:
            problems.append(f"{RECORDS} line {number + 1}: {_first_line(error)}")
            continue
        if elapsed < found.get(key, (float("inf"),))[0]:
            found[key] = (elapsed, body)
    return found, problems


def repair(folder) -> list:
    """Make a folder readable for MetaSchedule's own database again: invalid lines are set aside, the rest kept.

    Returns the problems found; their lines go to ``rejected_lines.txt`` beside the log.
    """
    folder = Path(folder)
    log = read(folder)
    if log.problems:
        with open(folder / REJECTED, "a", encoding="utf-8") as file:
            for problem in log.problems:
                name, number = problem.split(":")[0].split(" line ")
                file.write(problem + "\n" + dict(_lines(folder / name, [])).get(int(number) - 1, "") + "\n")
        write(folder, log.records, log.workloads)
    return log.problems


def write(folder, records, workloads=(), packed: bool = False) -> None:
    """Write records (and workloads without one) as a log, replacing what was there in one step a file.

    ``packed`` compresses the workloads, as published logs have them.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        database = open_database(fresh)  # TVM's own writer: it alone knows how to write every trace
        for workload in workloads:
            database.commit_workload(workload.mod)
        for record in records:
            stored = database.commit_workload(record.workload.mod)
            times = record.run_secs or [FAILED_SECONDS]
            fields = (record.trace, stored, times, record.target, record.args_info)
            database.commit_tuning_record(TuningRecord(*fields))
        if packed:
            plain = Path(fresh, WORKLOADS)
            Path(fresh, WORKLOADS + ".xz").write_bytes(lzma.compress(plain.read_bytes(), preset=PRESET))
            plain.unlink()
        # no records while the workloads change: a log that is cut off here is incomplete, not wrong
        (folder / RECORDS).write_bytes(b"")
        for path in sorted(Path(fresh).iterdir(), key=lambda path: path.name == RECORDS):
            os.replace(path, folder / path.name)


def open_database(folder) -> JSONDatabase:
    """MetaSchedule's JSON database on a folder; repair it first."""
    return JSONDatabase(work_dir=str(folder))


def best(records, keep: int = 1) -> list:
    """The fastest ``keep`` records of each workload, without duplicates and failures."""
    groups = {}
    for record in sorted(records, key=seconds):
        if seconds(record) == float("inf"):
            continue
        group = groups.setdefault(shash2hex(record.workload.mod), {})
        if len(group) < keep:
            group.setdefault(str(record.trace), record)
    return [record for group in groups.values() for record in group.values()]


def best_seconds(folder) -> dict:
    """{workload hash: seconds of its fastest record}."""
    return {shash2hex(record.workload.mod): seconds(record) for record in best(read(folder).records)}


def _lines(path: Path, problems=None):
    """(number, text) of each line that is not empty; a line that is not UTF-8 keeps its place."""
    try:
        texts = _content(path).decode("utf-8", errors="replace").split("\n")
    except (EOFError, lzma.LZMAError) as error:
        problems.append(f"{path.name}.xz line 1: {_first_line(error)}")
        return []
    return [(number, text) for number, text in enumerate(texts) if text.strip()]


def _content(path: Path) -> bytes:
    packed = path.with_name(path.name + ".xz")
    if path.exists():
        return path.read_bytes()
    return lzma.decompress(packed.read_bytes()) if packed.exists() else b""


def _first_line(error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
