"""Numbers of replicas, and who may go."""

from typing import Any

import pytest
from planning_world import GPU, S, make_function, status_of

from stoker.control.scaling import Size, is_idle, keep_until_us, least_loss_first, longest_idle_first, size_of
from stoker.model.replica import ReplicaState

pytestmark = pytest.mark.unit


def size(load: int = 0, woken_us: int | None = None, now_us: int = 100 * S, **scaling: Any) -> Size:
    function = make_function(**scaling)
    return size_of(function, GPU, load, woken_us, now_us, max(S, function.spec.scaling.keep_alive_ttl_us))


@pytest.mark.parametrize(
    ("load", "concurrency", "least", "most", "want"),
    [(0, 1, 0, 10, 0), (1, 1, 0, 10, 1), (9, 4, 0, 10, 3), (99, 1, 0, 10, 10), (0, 1, 2, 10, 2), (5, 1, 4, 3, 3)],
)
def test_replicas_are_the_clamped_ratio_of_load_and_concurrency(
    load: int, concurrency: int, least: int, most: int, want: int
) -> None:
    assert size(load, concurrency=concurrency, min_replicas=least, max_replicas=most).strong == want


def test_a_wake_is_a_weak_want_of_one_for_the_keep_alive() -> None:
    woken = size(woken_us=99 * S, keep_alive_ttl_us=5 * S)
    assert (woken.strong, woken.weak, woken.weak_until_us) == (0, 1, 104 * S)
    assert size(woken_us=95 * S, keep_alive_ttl_us=5 * S).weak == 0
    assert size(woken_us=int(99.5 * S), keep_alive_ttl_us=0).weak == 1
    assert size(woken_us=99 * S, max_replicas=0).weak == 0


def test_only_a_warm_replica_without_work_is_idle() -> None:
    assert is_idle(status_of(idle_since_us=1))
    assert not is_idle(status_of(idle_since_us=None))
    assert not is_idle(status_of(idle_since_us=1, in_flight=1))
    assert not is_idle(status_of(idle_since_us=1, state=ReplicaState.STARTING))


def test_one_that_never_served_is_kept_for_whoever_woke_it() -> None:
    assert keep_until_us(status_of(idle_since_us=5, served=1), 0, S) == 5
    assert keep_until_us(status_of(idle_since_us=5), 0, S) == 5 + S
    assert keep_until_us(status_of(), 0, S) is None


def test_the_order_of_loss_is_starting_then_long_idle_then_least_busy() -> None:
    busy = status_of(ordinal=0, in_flight=2)
    calm = status_of(ordinal=1, in_flight=1)
    idle = status_of(ordinal=2, idle_since_us=50)
    long_idle = status_of(ordinal=3, idle_since_us=10)
    starting = status_of(ordinal=4, state=ReplicaState.STARTING)
    replicas = [busy, calm, idle, long_idle, starting]
    assert least_loss_first(replicas) == [starting, long_idle, idle, calm, busy]
    assert longest_idle_first(replicas) == [long_idle, idle]
