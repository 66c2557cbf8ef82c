"""Exports of Nsight Systems, read into the copy table."""

import json

import pytest
from nsight_files import COLUMNS, KERNEL_TIMES, SIZES, TIMES, TRACE, write_sqlite

from tvm_zerocopy.errors import SourceError
from tvm_zerocopy.passes.copy_report import CopyReport
from tvm_zerocopy.traces import GpuKernel, GpuMove, read_nsight

HTOD = GpuMove("Host-to-Device", "pageable", "device", 2, 12_441_600, 4e-6)
DTOH = GpuMove("Device-to-Host", "device", "pinned", 2, 16_800, 1e-6)


def same(found, expected):
    key = lambda move: (move.operation, move.source, move.destination, move.count, move.bytes)  # noqa: E731
    assert [key(move) for move in found] == [key(move) for move in expected]
    assert [move.seconds for move in found] == pytest.approx([move.seconds for move in expected])


ALL = [
    HTOD,
    GpuMove("Unified Host-to-Device", "managed", "managed", 1, 65_536, 4e-7),
    DTOH,
    GpuMove("memset", None, None, 2, 8_192, 3e-7),
    GpuMove("Device-to-Device", "device", "device", 1, 1_024, 3e-7),
]


@pytest.mark.parametrize("enums", [True, False], ids=["with enum tables", "before 2021.4"])
def test_sqlite(tmp_path, enums):
    found = read_nsight(write_sqlite(tmp_path / "report1.sqlite", enums=enums), frames=2)
    same(found.moves, ALL)
    assert found.kernels == (
        GpuKernel("void conv2d_kernel(float *)", 2, pytest.approx(2.5e-6)),
        GpuKernel("softmax", 1, pytest.approx(1e-7)),
    )


def test_the_table_of_a_frame(tmp_path):
    found = read_nsight(write_sqlite(tmp_path / "report1.sqlite"), frames=2)
    report = found.copy_report()
    assert [(row.what, row.reason, row.action, row.bytes) for row in report.rows] == [
        ("Host-to-Device (pageable to device)", "transfer", "copied", 6_220_800),
        ("Unified Host-to-Device (managed to managed)", "transfer", "copied", 32_768),
        ("Device-to-Host (device to pinned)", "transfer", "copied", 8_400),
        ("memset", "fill", "copied", 4_096),
        ("Device-to-Device (device to device)", "copy", "copied", 512),
    ]
    assert "total copied" in report.to_table()
    written = json.loads(json.dumps(found.to_dict()))
    assert CopyReport.from_dict(written["analysis"]) == report
    assert written["per_frame"][0] == {
        "what": "Host-to-Device (pageable to device)",
        "reason": "transfer",
        "action": "copied",
        "count": 1.0,
        "bytes": 6_220_800.0,
        "milliseconds": pytest.approx(0.002),
    }


def test_columns_that_an_old_export_lacks(tmp_path):
    found = read_nsight(write_sqlite(tmp_path / "old.sqlite", enums=False, kinds=False))
    assert {move.source for move in found.moves} == {None}
    assert found.moves[0].name == "Host-to-Device" and found.moves[0].bytes == 12_441_600


@pytest.mark.parametrize("missing", ["copies", "fills", "kernels"])
def test_tables_of_what_never_happened_are_missing(tmp_path, missing):
    found = read_nsight(write_sqlite(tmp_path / "report1.sqlite", **{missing: []}))
    if missing == "kernels":
        assert not found.kernels and len(found.moves) == len(ALL)
    else:
        gone = {"memset"} if missing == "fills" else {move.operation for move in ALL} - {"memset"}
        assert {move.operation for move in found.moves} == {move.operation for move in ALL} - gone


def test_trace_csv(tmp_path):
    path = tmp_path / "report1_cuda_gpu_trace.csv"
    path.write_text(TRACE)
    found = read_nsight(path)
    same(
        found.moves,
        [
            GpuMove("Host-to-Device", "pageable", "device", 2, 12_442_000, 4e-6),
            GpuMove("Device-to-Host", "device", "pinned", 1, 8_000, 5e-7),
            GpuMove("memset", "device", None, 1, 4_000, 1e-7),
        ],
    )
    assert found.kernels == (GpuKernel("void conv2d_kernel(float *, int)", 1, pytest.approx(1e-6)),)


def test_summaries_in_one_file_complete_each_other(tmp_path):
    path = tmp_path / "stats.csv"
    path.write_text(TIMES + SIZES + KERNEL_TIMES)
    found = read_nsight(path, frames=24)
    same(
        found.moves,
        [
            GpuMove("Host-to-Device", None, None, 48, 298_598_000, 1843200e-9),
            GpuMove("Device-to-Host", None, None, 24, 202_000, 36000e-9),
        ],
    )
    assert found.per_frame()[0]["count"] == 2
    assert found.kernels[1] == GpuKernel("decode_kernel(float *, int)", 40, pytest.approx(0.002))


def test_columns_as_nsys_prints_them_by_default(tmp_path):
    path = tmp_path / "stats.txt"
    path.write_text(COLUMNS)
    found = read_nsight(path)
    same(
        found.moves,
        [
            GpuMove("Host-to-Device", None, None, 48, 1_298_598_000, 1843200e-9),
            GpuMove("Device-to-Host", None, None, 24, 202_000, 36000e-9),
        ],
    )
    assert found.kernels == (GpuKernel("decode_kernel(float *, int)", 40, pytest.approx(0.002)),)


def test_graphs_that_were_recorded_whole_are_counted(tmp_path):
    found = read_nsight(write_sqlite(tmp_path / "report1.sqlite", graphs=[(0, 5_000), (6_000, 12_000)]), frames=2)
    assert found.graphs == 2 and found.kernels[0].count == 2 and found.kernels[0].seconds == pytest.approx(11e-6)
    only = read_nsight(write_sqlite(tmp_path / "graphs.sqlite", [], [], [], graphs=[(0, 5_000)]))
    assert only.graphs == 1 and not only.moves
    assert read_nsight(write_sqlite(tmp_path / "nodes.sqlite")).graphs == 0


@pytest.mark.parametrize("batch, count", [(3, 6), (1, 2), (0, 2)])
def test_a_batch_of_copies_is_as_many_as_it_holds(tmp_path, batch, count):
    found = read_nsight(write_sqlite(tmp_path / "report1.sqlite", batch=batch))
    assert found.moves[0].count == count and found.moves[0].bytes == HTOD.bytes


@pytest.mark.parametrize("text, size, seconds", [(SIZES, 298_598_000, None), (TIMES, None, pytest.approx(0.0018432))])
def test_a_summary_alone_leaves_out_what_it_does_not_know(tmp_path, text, size, seconds):
    path = tmp_path / "stats.csv"
    path.write_text(text)
    move = read_nsight(path).moves[0]
    assert (move.bytes, move.seconds) == (size, seconds)
    assert read_nsight(path).copy_report().rows[0].bytes == size


@pytest.mark.parametrize("unit, factor", [("B", 1), ("KiB", 1024), ("GB", 10**9)])
def test_units_are_read_from_the_headings(tmp_path, unit, factor):
    path = tmp_path / "stats.csv"
    path.write_text(SIZES.replace("(MB)", f"({unit})"))
    assert read_nsight(path).moves[0].bytes == round(298.598 * factor)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "no report of GPU copies or kernels"),
        ("a,b\n1,2\n", "no report of GPU copies or kernels"),
        (SIZES.replace("298.598", '"298,598"'), "is not a number as C writes it; write it with LC_ALL=C nsys stats"),
        (COLUMNS.replace("1,298.598", "1.298,598"), "is not a number as C writes it"),
        (COLUMNS.replace("   36,000 ", "   36.000 "), "is not a number as C writes it"),
        (SIZES.replace("Total (MB)", "Total"), "has no unit"),
        ("\xff\xfe", "no text|no report"),
    ],
)
def test_other_text(tmp_path, content, message):
    path = tmp_path / "stats.csv"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(SourceError, match=message):
        read_nsight(path)


def test_other_files(tmp_path):
    with pytest.raises(SourceError, match="No such file.*nsys export --type sqlite"):
        read_nsight(tmp_path / "none.sqlite")
    raw = tmp_path / "report1.nsys-rep"
    raw.write_bytes(b"\x00\x01binary")
    with pytest.raises(SourceError, match="write one: nsys export --type sqlite.* report1.nsys-rep"):
        read_nsight(raw)
    empty = write_sqlite(tmp_path / "empty.sqlite", [], [], [])
    with pytest.raises(SourceError, match="holds no CUDA activity; record with nsys profile"):
        read_nsight(empty)
    damaged = write_sqlite(tmp_path / "damaged.sqlite")
    damaged.write_bytes(damaged.read_bytes()[:4000])
    with pytest.raises(SourceError, match="is damaged or no export"):
        read_nsight(damaged)
