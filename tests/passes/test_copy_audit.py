import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.relax import transform as rt

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.passes.bind_external_buffers import BindExternalBuffers
from tvm_zerocopy.passes.copy_audit import CopyAudit
from tvm_zerocopy.passes.copy_report import CopyReport
from tvm_zerocopy.passes.data_movement import movement
from tvm_zerocopy.passes.lower_main import LowerMainToPrimFunc
from tvm_zerocopy.passes.view_rules import VIEW_LEGALIZE_MAP

FUSE = [rt.AnnotateTIROpPattern(), rt.FuseOps(), rt.FuseTIR()]
TO_VM = [rt.ToNonDataflow(), rt.RemovePurityChecking(), rt.CallTIRRewrite()]
PLANNED = [*TO_VM, rt.StaticPlanBlockMemory(), rt.KillAfterLastUse(), rt.LowerAllocTensor()]


def run(mod, *passes):
    with tvm.target.Target("llvm"):
        return tvm.transform.Sequential(list(passes))(mod)


def program(*build, shape=(1, 3, 8, 8), dtype="float32"):
    """main(x) that applies one function after another to x and returns the last result."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, dtype))
    with builder.function("main", [x]):
        with builder.dataflow():
            values = [x]
            for step in build:
                values.append(builder.emit(step(*values[::-1])))
            result = builder.emit_output(values[-1])
        builder.emit_func_output(result)
    return builder.get()


def network():
    """conv -> relu -> concat with the input -> NHWC -> rows."""
    weights = relax.const(np.ones((4, 3, 3, 3), "float32"))
    return program(
        lambda x: relax.op.nn.conv2d(x, weights, padding=1),
        lambda y, x: relax.op.nn.relu(y),
        lambda y, conv, x: relax.op.concat([y, x], axis=1),
        lambda z, *_: relax.op.permute_dims(z, [0, 2, 3, 1]),
        lambda z, *_: relax.op.reshape(z, (1, 64, 7)),
    )


def rows(report, action):
    return [(row.reason, row.bytes) for row in report.where(action)]


MOVES = {
    "layout change": lambda x: relax.op.permute_dims(x, [0, 2, 3, 1]),
    "concat": lambda x: relax.op.concat([x, relax.const(np.ones((1, 2, 8, 8), "float32"))], axis=1),
    "split": lambda x: relax.op.strided_slice(x, [2], [2], [6]),
    "pad": lambda x: relax.op.nn.pad(x, [0, 0, 0, 0, 1, 1, 1, 1]),
    "upsample": lambda x: relax.op.repeat(x, 2, 3),
    "convert": lambda x: relax.op.astype(x, "float16"),
}
COMPUTES = {
    "relu": lambda x: relax.op.nn.relu(x),
    "max_pool": lambda x: relax.op.nn.max_pool2d(x, (2, 2), (2, 2)),
    "softmax": lambda x: relax.op.nn.softmax(x),
    "sum": lambda x: relax.op.sum(x, axis=1),
    "conv": lambda x: relax.op.nn.conv2d(x, relax.const(np.ones((2, 3, 1, 1), "float32"))),
}


@pytest.mark.parametrize("reason", MOVES)
def test_a_kernel_that_only_moves_is_a_copy_with_its_reason_and_size(reason):
    mod = program(MOVES[reason])
    size = 1
    result = mod["main"].ret_ty
    for extent in result.shape.values:
        size *= int(extent)
    size *= 2 if str(result.dtype) == "float16" else 4
    report = CopyAudit()(run(mod, rt.LegalizeOps()))
    assert rows(report, "copied") == [(reason, size)]
    assert rows(report, "allocated") == [("output", size)]


@pytest.mark.parametrize("name", COMPUTES)
def test_a_kernel_that_computes_is_no_copy(name):
    assert not CopyAudit()(run(program(COMPUTES[name]), rt.LegalizeOps())).where("copied")


@pytest.mark.parametrize("reason", MOVES)
def test_a_move_fused_with_arithmetic_is_no_copy(reason):
    def scale(y, *_):
        return relax.op.multiply(y, relax.const(2.0, "float16" if reason == "convert" else "float32"))

    mod = run(program(MOVES[reason], scale), rt.LegalizeOps(), *FUSE)
    kernels = [f for f in mod.functions.values() if isinstance(f, tvm.tirx.PrimFunc)]
    if len(kernels) == 1:  # FuseOps leaves some pairs alone; then the move stands for itself
        assert movement(kernels[0]) is None
    else:
        assert {movement(kernel) for kernel in kernels} == {None, reason}


@settings(max_examples=25, deadline=None)
@given(axes=st.permutations(range(4)), loops=st.integers(0, 3))
def test_scheduling_does_not_hide_a_copy(axes, loops):
    mod = run(program(lambda x: relax.op.permute_dims(x, axes)), rt.LegalizeOps())
    ((name, func),) = [(v, f) for v, f in mod.functions.items() if isinstance(f, tvm.tirx.PrimFunc)]
    schedule = tvm.s_tir.Schedule(func)
    (block,) = schedule.get_child_blocks(schedule.get_sblock("root"))
    loop = schedule.get_loops(block)[loops]
    schedule.parallel(schedule.split(loop, [None, 2])[0])
    expected = "copy" if list(axes) == [0, 1, 2, 3] else "layout change"
    assert movement(schedule.mod["main"]) == expected


@pytest.mark.parametrize("channels", [32, 20])  # 20: the last block is padded, and the padding is dropped again
def test_channel_blocks_are_a_layout_change(channels):
    blocked = (1, -(-channels // 16), 8, 8, 16)
    to_blocks = tvm.te.placeholder((1, channels, 8, 8), name="x")
    packed = tvm.te.compute(
        blocked,
        lambda n, c, h, w, i: tvm.tirx.if_then_else(c * 16 + i < channels, to_blocks[n, c * 16 + i, h, w], 0.0),
    )
    plain = tvm.te.compute((1, channels, 8, 8), lambda n, c, h, w: packed[n, c // 16, h, w, c % 16])
    assert movement(tvm.te.create_prim_func([to_blocks, packed])) == "layout change"
    source = tvm.te.placeholder(blocked, name="source")
    back = tvm.te.compute((1, channels, 8, 8), lambda n, c, h, w: source[n, c // 16, h, w, c % 16])
    assert movement(tvm.te.create_prim_func([source, back])) == "layout change"
    assert movement(tvm.te.create_prim_func([to_blocks, plain])) == "layout change"


def test_virtual_machine_form_allocates_every_result():
    report = CopyAudit()(run(network(), rt.LegalizeOps(), *TO_VM))
    assert rows(report, "in place") == [("input", 768), ("weights", 432)]
    assert [size for _, size in rows(report, "allocated")] == [1024, 1024, 1792, 1792, 1792]
    assert [reason for reason, _ in rows(report, "allocated")] == ["intermediate"] * 4 + ["output"]
    assert rows(report, "copied") == [("concat", 1792), ("layout change", 1792), ("layout change", 1792)]
    assert rows(report, "pooled") == [("scratch", 1200)]  # the padded input of the convolution


def test_planned_virtual_machine_form_allocates_storages():
    report = CopyAudit()(run(network(), rt.LegalizeOps(), *PLANNED))
    assert report.totals()["allocated"]["count"] < 5
    assert ("output", 1792) in rows(report, "allocated")


def test_lowered_form_allocates_nothing():
    mod = run(network(), rt.LegalizeOps(VIEW_LEGALIZE_MAP), *FUSE, LowerMainToPrimFunc())
    report = CopyAudit()(mod)
    assert not report.where("allocated")
    assert rows(report, "in place") == [("input", 768), ("weights", 448), ("output", 1792)]
    ((reason, workspace),) = rows(report, "planned")
    assert reason == "intermediate" and 0 < workspace < 1024 * 2 + 1792 * 3 + 1200
    # The convolution writes into the concatenation; the input, which lies elsewhere, is moved there: 768 bytes.
    assert rows(report, "copied") == [("copy", 768), ("layout change", 1792)]


def test_outputs_that_are_parameters_are_in_place():
    mod = run(program(COMPUTES["relu"]), rt.LegalizeOps())
    (kernel,) = [v for v, f in mod.functions.items() if isinstance(f, tvm.tirx.PrimFunc)]
    x, out = (relax.Var(name, relax.TensorType((1, 3, 8, 8), "float32")) for name in ("x", "out"))
    builder = relax.BlockBuilder(mod)
    with builder.function("bound", [x, out], pure=False):
        builder.emit(tvm.ir.Call(kernel, [x, out]))
        builder.emit_func_output(out)
    report = CopyAudit("bound")(builder.get())
    assert rows(report, "in place") == [("input", 768), ("output", 768)]
    assert not report.where("allocated")


@pytest.mark.parametrize("after", [[], TO_VM, PLANNED], ids=["call_tir", "vm", "planned"])
def test_bound_outputs_are_in_place(after):
    mod = run(network(), rt.LegalizeOps(), *FUSE, BindExternalBuffers(), *after)
    report = CopyAudit()(mod)
    assert rows(report, "in place") == [("input", 768), ("weights", 432), ("output", 1792)]
    assert "output" not in [reason for reason, _ in rows(report, "allocated")]


def test_sizes_known_at_run_time_are_said_to_be():
    n = tvm.tirx.Var("n", "int64")
    report = CopyAudit()(run(program(MOVES["convert"], shape=(n, 3)), rt.LegalizeOps()))
    assert rows(report, "in place") == [("input", None)] and rows(report, "copied") == [("convert", None)]
    assert "by frame size" in report.to_table() and report.totals()["copied"] == {"count": 1, "bytes": 0}


def test_the_report_travels_as_json():
    report = CopyAudit()(run(network(), rt.LegalizeOps()))
    assert CopyReport.from_dict(report.to_dict()) == report
    table = report.to_table()
    assert all(row.what in table for row in report.rows) and len(set(map(len, table.splitlines()))) == 1


def test_says_what_it_needs():
    with pytest.raises(UnsupportedError, match="Relax function 'main'"):
        CopyAudit()(tvm.IRModule({}))
