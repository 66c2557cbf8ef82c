"""The counter: what is counted, for whom, and that nothing else is."""

import ctypes
import textwrap

import pytest

from tvm_zerocopy.copies import counter
from tvm_zerocopy.copies.measure import measure
from tvm_zerocopy.errors import BufferError, UnsupportedError

FRAMES = 20


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """Makes `measure` run a function given as source text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(source, kernels=(), **arguments):
        (tmp_path / "counted_pipeline.py").write_text("import numpy as np\n" + textwrap.dedent(source))
        steps = measure("counted_pipeline:make", arguments, FRAMES, kernels)
        return {step.name: step.per_frame() for step in steps}

    return run


def figures(allocations=0, allocated=0, copies=0, copied=0, made=0):
    return {
        "allocations": allocations,
        "allocated_bytes": allocated,
        "copies": copies,
        "copied_bytes": copied,
        "kernel_copies": 0,
        "kernel_copied_bytes": 0,
        "made_bytes": made,
    }


@pytest.mark.parametrize("size", [2000, 1_000_003, 6_220_800])
def test_a_copying_pipeline_shows_its_copies_with_their_sizes(pipeline, size):
    steps = pipeline(
        """
        def make(size):
            frame, mine = np.ones(size, np.uint8), np.zeros(size, np.uint8)
            return [
                ("in place", lambda: np.add(frame, 1, out=mine) is None),
                ("copy", lambda: frame.copy()),
                ("copy into mine", lambda: mine.__setitem__(slice(None), frame)),
                ("to float", lambda: frame.astype(np.float32)),
            ]
        """,
        size=size,
    )
    assert steps["in place"] == figures()
    assert steps["copy"] == figures(1, size, 1, size, made=size)
    assert steps["copy into mine"] == figures(copies=1, copied=size)
    assert steps["to float"] == figures(1, 4 * size, made=4 * size)  # numpy's own loop: seen as a new array


def test_every_allocator_and_every_thread_is_counted(pipeline):
    steps = pipeline(
        """
        import ctypes, queue, threading
        c = ctypes.CDLL(None)
        for name in ("malloc", "calloc", "realloc", "aligned_alloc", "memalign", "mmap"):
            getattr(c, name).restype = ctypes.c_void_p
        c.free.argtypes = [ctypes.c_void_p]
        out = ctypes.c_void_p()
        size = ctypes.c_size_t
        calls = {
            "malloc": lambda: c.malloc(size(5000)),
            "calloc": lambda: c.calloc(size(50), size(100)),
            "realloc": lambda: c.realloc(None, size(5000)),
            "aligned_alloc": lambda: c.aligned_alloc(size(64), size(5000)),
            "memalign": lambda: c.memalign(size(64), size(5000)),
            "posix_memalign": lambda: c.posix_memalign(ctypes.byref(out), size(64), size(5000)) or out.value,
        }

        def make():
            todo, done = queue.SimpleQueue(), queue.SimpleQueue()

            def work():
                while True:
                    todo.get()
                    c.free(c.malloc(size(777777)))
                    done.put(None)

            threading.Thread(target=work, daemon=True).start()
            steps = [(name, lambda call=call: c.free(call())) for name, call in calls.items()]
            return [*steps, ("thread", lambda: [todo.put(None), done.get()] and None)]
        """
    )
    for name in ("malloc", "calloc", "realloc", "aligned_alloc", "memalign", "posix_memalign"):
        assert steps[name]["allocations"] == 1 and steps[name]["allocated_bytes"] == 5000, name
    assert steps["thread"]["allocated_bytes"] >= 777777


def test_the_rarer_allocators_and_copies_are_counted(pipeline):
    steps = pipeline(
        """
        import ctypes
        c, cxx = ctypes.CDLL(None), ctypes.CDLL("libstdc++.so.6")
        room, data = ctypes.create_string_buffer(9000), ctypes.create_string_buffer(9000)
        p, size = ctypes.c_void_p, ctypes.c_size_t
        for function in (c.valloc, c.pvalloc, c.reallocarray, c.mmap, c.mremap, cxx._Znwm):
            function.restype = p
        pages = c.mmap(None, size(4096), 3, 0x22, -1, size(0))
        copied = (room, data, size(5000))

        def move():
            global pages
            pages = c.mremap(p(pages), size(4096), size(4096), 1)

        def make():
            return [
                ("valloc", lambda: c.free(p(c.valloc(size(5000))))),
                ("pvalloc", lambda: c.free(p(c.pvalloc(size(5000))))),
                ("reallocarray", lambda: c.free(p(c.reallocarray(None, size(50), size(100))))),
                ("operator new", lambda: cxx._ZdlPv(p(cxx._Znwm(size(5000)))) and None),
                ("mremap", move),
                ("mempcpy", lambda: c.mempcpy(*copied) and None),
                ("bcopy", lambda: c.bcopy(data, room, size(5000)) and None),
                ("wmemcpy", lambda: c.wmemcpy(room, data, size(1250)) and None),
                ("wmemmove", lambda: c.wmemmove(room, data, size(1250)) and None),
                ("__memcpy_chk", lambda: c.__getattr__("__memcpy_chk")(*copied, size(9000)) and None),
                ("__memmove_chk", lambda: c.__getattr__("__memmove_chk")(*copied, size(9000)) and None),
                ("__mempcpy_chk", lambda: c.__getattr__("__mempcpy_chk")(*copied, size(9000)) and None),
            ]
        """
    )
    for name, step in steps.items():
        is_copy = "cpy" in name or "move" in name or name == "bcopy"
        kind, nbytes = ("copies", "copied_bytes") if is_copy else ("allocations", "allocated_bytes")
        assert (step[kind], step[nbytes]) == (1, 4096 if name == "mremap" else 5000), name


def test_what_the_pipeline_raises_is_raised_here(pipeline):
    with pytest.raises(BufferError, match="as it says"):
        pipeline(
            """
            from tvm_zerocopy.errors import BufferError
            def make():
                raise BufferError("as it says")
            """
        )
    with pytest.raises(UnsupportedError, match="the measured process died: NameError"):
        pipeline("def make(): return no_such_name")


def test_missing_compiler_names_the_mend(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UnsupportedError, match="needs a C compiler: install gcc"):
        counter.build(tmp_path)
    monkeypatch.setattr(counter.platform, "system", lambda: "Darwin")
    with pytest.raises(UnsupportedError, match="needs Linux with glibc"):
        counter.build(tmp_path)


def test_counter_outside_a_counted_process_is_refused(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with pytest.raises(UnsupportedError, match="not preloaded"):
        counter.Counter()
