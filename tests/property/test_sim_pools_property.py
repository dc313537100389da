"""Invariants of a device's buffers, whatever is asked for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker_sim.pools.buffers import Buffer, BufferCache, Reserve

pytestmark = pytest.mark.property

SIZES = [7, 3, 5, 2, 9, 1]
REQUESTS = st.lists(st.sets(st.integers(0, len(SIZES) - 1), min_size=1, max_size=3), max_size=20)


@settings(max_examples=60)
@given(requests=REQUESTS, reserve=st.sampled_from(Reserve))
def test_buffers_never_exceed_the_device_and_a_request_finds_all_of_its_own(
    requests: list[set[int]], reserve: Reserve
) -> None:
    cache = BufferCache(22, reserve)
    here = {}
    asked = 0
    for numbers in requests:
        buffers = [Buffer(f"b{at}", SIZES[at]) for at in sorted(numbers)]
        asked += len(buffers)
        cache.pin(buffers)
        here.update({buffer.name: buffer.size for buffer in buffers})
        assert all(cache.holds(buffer.name) for buffer in buffers)
        assert cache.used == sum(size for name, size in here.items() if cache.holds(name)) <= 22
        cache.release(buffers)
    assert cache.hits + cache.compulsory + cache.capacity_misses == asked
    assert cache.compulsory == len(here)


@settings(max_examples=30)
@given(requests=REQUESTS)
def test_nothing_is_loaded_twice_where_everything_fits(requests: list[set[int]]) -> None:
    cache = BufferCache(sum(SIZES))
    for numbers in requests:
        buffers = [Buffer(f"b{at}", SIZES[at]) for at in numbers]
        cache.pin(buffers)
        cache.release(buffers)
    assert (cache.evictions, cache.capacity_misses) == (0, 0)
