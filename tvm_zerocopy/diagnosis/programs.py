"""Small programs compiled, run and checked."""

import numpy as np

from .result import CheckResult, fail, ok, skip

NO_CUDA = "no CUDA device that TVM can compile for"
_REPORT = "report it with this text and `--json`'s: TVM compiles a wrong program here"

_CONVOLUTION = """
@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((1, 3, 15, 16), "float32"), w: R.Tensor((8, 3, 3, 3), "float32")):
        with R.dataflow():
            y = R.nn.conv2d(x, w, strides=[2, 2], padding=[1, 1])
            R.output(y)
        return y
"""
_SHAPE = (1, 8, 8, 8)


def vector_add(kind: str) -> CheckResult:
    """c = a + b over 1,000,003 floats on a kind of device, "cpu" or "cuda"."""
    import tvm
    from tvm import te

    from . import compat

    target, device = compat.place(kind)
    if target is None:
        return skip(NO_CUDA)
    n = 1_000_003  # no multiple of any vector or block
    a, b = (te.placeholder((n,), name=name) for name in "ab")
    sch = compat.schedule(te.create_prim_func([a, b, te.compute((n,), lambda i: a[i] + b[i], name="c")]))
    (loop,) = sch.get_loops(compat.block(sch, "c"))
    if kind == "cuda":
        outer, inner = sch.split(loop, [None, 256])
        sch.bind(outer, "blockIdx.x")
        sch.bind(inner, "threadIdx.x")
    else:
        sch.parallel(loop)
    run = compat.build(sch.mod, target)
    rng = np.random.default_rng()
    left, right = rng.random(n, np.float32), rng.random(n, np.float32)
    arrays = [compat.tensor(v, device) for v in (left, right, np.zeros_like(left))]
    run["main"](*arrays)
    if not np.array_equal(arrays[2].numpy(), left + right):
        return fail("a vector add gives wrong sums", _REPORT)
    attributes = dict(target.attrs)
    chip = str(attributes.get("arch") or attributes.get("mcpu") or target.kind.name)
    return ok(f"compiled for {chip}, run and right, TVM {tvm.__version__}", chip=chip)


def convolution() -> CheckResult:
    """A strided, padded convolution through every graph IR of this TVM, its shape and values against numpy."""
    import tvm

    x = np.random.default_rng(0).random((1, 3, 15, 16), np.float32)
    w = np.random.default_rng(1).random((8, 3, 3, 3), np.float32)
    expected = _conv2d(x, w)
    done = []
    roads = [("Relax", _through_relax)] if hasattr(tvm, "relax") else []
    roads += [("Relay", _through_relay)] if _has_relay() else []
    if not roads:
        return fail("this TVM has neither Relax nor Relay", "install a TVM with its compiler")
    for name, road in roads:
        result = road(x, w)
        if result.shape != _SHAPE:
            return fail(f"a convolution through {name} has shape {result.shape}, not {_SHAPE}", _REPORT)
        error = float(np.abs(result - expected).max())
        if not error < 1e-4:
            return fail(f"a convolution through {name} is off by {error:.1e}", _REPORT)
        done.append(name)
    return ok(f"{_SHAPE} and right through {' and '.join(done)}", shape=list(_SHAPE), through=done)


def _through_relax(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    import tvm
    from tvm import relax

    from . import compat

    module = tvm.script.from_source(_CONVOLUTION)
    build = tvm.compile if hasattr(tvm, "compile") else relax.build
    machine = relax.VirtualMachine(build(module, target=compat.cpu_target()), tvm.cpu())
    return machine["main"](*(compat.tensor(v, tvm.cpu()) for v in (x, w))).numpy()


def _has_relay() -> bool:
    try:
        from tvm import relay  # noqa: F401
    except ImportError:
        return False
    return True


def _through_relay(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    import tvm
    from tvm import relay
    from tvm.contrib import graph_executor

    from . import compat

    data, weight = relay.var("x", shape=x.shape), relay.var("w", shape=w.shape)
    y = relay.nn.conv2d(data, weight, strides=(2, 2), padding=(1, 1), channels=w.shape[0], kernel_size=w.shape[2:])
    module = tvm.IRModule.from_expr(relay.Function([data, weight], y))
    with tvm.transform.PassContext(opt_level=3):
        built = relay.build(module, target=compat.cpu_target())
    run = graph_executor.GraphModule(built["default"](tvm.cpu()))
    run.set_input("x", x)
    run.set_input("w", w)
    run.run()
    return run.get_output(0).numpy()


def _conv2d(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Stride 2, padding 1, in float64."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    _, _, rows, columns = _SHAPE
    return sum(
        np.einsum("nchw,oc->nohw", padded[:, :, r : r + 2 * rows : 2, c : c + 2 * columns : 2], w[:, :, r, c])
        for r in range(3)
        for c in range(3)
    )
