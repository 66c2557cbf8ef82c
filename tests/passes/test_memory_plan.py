"""Offsets in the workspace: no two living buffers share a byte, and the total is as small as can be expected."""

from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.passes.memory_plan import Lifetime, align_up, plan_offsets

lifetimes = st.builds(
    lambda nbytes, first, length: Lifetime(nbytes, first, first + length),
    st.integers(1, 5000),
    st.integers(0, 30),
    st.integers(0, 10),
)


def most_alive(buffers):
    """Bytes that are in use at the busiest step, each buffer rounded up to the alignment: no plan can need less."""
    steps = {buffer.first for buffer in buffers}
    return max(sum(align_up(b.nbytes) for b in buffers if b.first <= step <= b.last) for step in steps)


@given(st.lists(lifetimes, min_size=1, max_size=40))
def test_living_buffers_share_no_byte(buffers):
    offsets, total = plan_offsets(buffers)
    for index, (buffer, offset) in enumerate(zip(buffers, offsets)):
        assert offset % 64 == 0 and offset >= 0 and offset + buffer.nbytes <= total
        for other, place in list(zip(buffers, offsets))[:index]:
            if buffer.overlaps(other):
                assert offset + buffer.nbytes <= place or place + other.nbytes <= offset
    assert total % 64 == 0
    assert most_alive(buffers) <= total <= sum(align_up(buffer.nbytes) for buffer in buffers)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40))
def test_a_chain_needs_no_more_than_its_largest_neighbours(sizes):
    """Each buffer is made from the one before it, as in a network without branches."""
    chain = [Lifetime(size, step, step + 1) for step, size in enumerate(sizes)]
    _, total = plan_offsets(chain)
    assert total <= 1.5 * most_alive(chain)


def test_a_gap_is_filled_by_the_buffer_that_fits_best():
    buffers = [Lifetime(1024, 0, 9), Lifetime(512, 0, 1), Lifetime(256, 0, 9), Lifetime(512, 2, 9)]
    offsets, total = plan_offsets(buffers)
    assert offsets[1] == offsets[3] and total == 1024 + 512 + 256


def test_nothing_needs_nothing():
    assert plan_offsets([]) == ([], 0)
