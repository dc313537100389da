"""However the telemetry of a node trembles, its ledger costs at most 0.1 writes a second; a flip is never lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.device import DeviceKind
from stoker.wire.function_node import (
    FLIP_INTERVAL_US,
    QUANTUM_MIB,
    WRITE_INTERVAL_US,
    AgentStatus,
    DeviceStatus,
    FunctionNodeStatus,
    needs_write,
    quantise,
)

pytestmark = pytest.mark.property

TICK_US = 500_000


def status(used: list[int], *, healthy: bool = True) -> FunctionNodeStatus:
    devices = tuple(
        DeviceStatus(
            id=f"GPU-{index}",
            kind=DeviceKind.GPU,
            product="T4",
            memory_mib=16384,
            used_memory_mib=amount,
            healthy=healthy or index > 0,
        )
        for index, amount in enumerate(used)
    )
    return FunctionNodeStatus(agent=AgentStatus(pod="p", address="a"), devices=devices)


def writes(seen: list[FunctionNodeStatus], tick_us: int = TICK_US) -> list[int]:
    """When an agent that looks every tick writes."""
    written, last_us, at = None, None, []
    for index, now in enumerate(map(quantise, seen)):
        now_us = index * tick_us
        if needs_write(written, now, last_us, now_us):
            written, last_us = now, now_us
            at.append(now_us)
    return at


memory = st.lists(st.integers(0, 16384), min_size=2, max_size=2)


@given(st.lists(memory, min_size=1, max_size=60))
def test_trembling_telemetry_costs_at_most_a_write_in_ten_seconds(seen: list[list[int]]) -> None:
    at = writes([status(used) for used in seen])
    assert all(later - earlier >= WRITE_INTERVAL_US for earlier, later in pairwise(at))


@given(st.integers(0, 16384 - QUANTUM_MIB), st.lists(st.integers(0, QUANTUM_MIB - 1), min_size=1, max_size=60))
def test_noise_of_less_than_a_step_is_written_once(level: int, noise: list[int]) -> None:
    assert writes([status([level + each, 0]) for each in noise], tick_us=WRITE_INTERVAL_US) == [0]


@given(st.lists(st.tuples(memory, st.booleans()), min_size=1, max_size=60))
def test_a_flip_is_in_the_ledger_half_a_second_later_at_most(seen: list[tuple[list[int], bool]]) -> None:
    written, last_us = None, None
    for index, (used, healthy) in enumerate(seen):
        now, now_us = quantise(status(used, healthy=healthy)), index * FLIP_INTERVAL_US
        if needs_write(written, now, last_us, now_us):
            written, last_us = now, now_us
        assert written is not None
        assert written.devices[0].healthy == healthy
