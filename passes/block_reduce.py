"""What a block of GPU threads does together, as expressions and statements of a kernel in TVMScript."""

from .detection_head.script import T

TRIPS = "tz.trips"
GROUPS = 32  # partial results that every thread combines for itself


def block_reduce(combine, own, part, parts, whole, t):
    """Statements that leave in every thread's ``whole[0]`` what ``combine`` makes of all threads' ``own[0]``.

    No order of threads changes the result if ``combine(a, b)`` is associative and commutative. All threads of the block
    must come here. ``own[0]`` is used up.

    Parameters
    ----------
    combine : callable
        Of two expressions.
    own, whole : T.Buffer
        ``(1,)``, scope local.
    part, parts : T.Buffer
        ``(threads,)`` and ``(GROUPS,)``, scope shared; ``threads`` is a multiple of ``GROUPS``.
    t : Var
        The thread.
    """
    threads = int(part.shape[0])
    T.buffer_store(part, own[0], [t])
    T.evaluate(T.tvm_storage_sync("shared"))
    with T.If(t < GROUPS), T.Then():
        with T.serial(threads // GROUPS - 1) as g:
            T.buffer_store(own, combine(own[0], part[(g + 1) * GROUPS + t]), [0])
        T.buffer_store(parts, own[0], [t])
    T.evaluate(T.tvm_storage_sync("shared"))
    T.buffer_store(whole, parts[0], [0])
    with T.serial(GROUPS - 1) as g:
        T.buffer_store(whole, combine(whole[0], parts[g + 1]), [0])


def strided(t, total, threads: int):
    """How many of the numbers ``t``, ``t + threads``, ... are below the total."""
    return (total - t + (threads - 1)) // threads


def trips(usual: int, most: int) -> dict:
    """Annotations of a loop whose length lies in memory: how often it usually runs, and at most. `kernel_model` reads
    them; ``while`` takes them from ``with T.attr(T.int32(usual), TRIPS, most)`` around it."""
    return {TRIPS: [usual, most]}


def strided_trips(usual: int, most: int, threads: int) -> dict:
    """`trips` of a loop over a thread's share of that many."""
    return trips(-(-usual // threads), -(-most // threads))


def with_bit(key, bit):
    """The uint64 ``key`` with one more bit set."""
    return T.bitwise_or(key, T.shift_left(T.uint64(1), T.Cast("uint64", bit)))
