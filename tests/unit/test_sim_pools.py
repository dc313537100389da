"""Pools of Kernel as a Service: footprints, buffers, preferred devices, whose worker is killed, and whole runs."""

import numpy as np
import pytest

from stoker.model.function import Sharing
from stoker_sim.assumptions import Assumptions
from stoker_sim.engine.setup import BadSetup
from stoker_sim.outcomes import Outcomes
from stoker_sim.pools.affinity import assigned
from stoker_sim.pools.buffers import Buffer, BufferCache, NoRoom, Reserve
from stoker_sim.pools.executors import buffer_bytes
from stoker_sim.pools.footprint import CGEMM, Footprint
from stoker_sim.pools.rules import Exclusive, Start, Static
from stoker_sim.pools.simulate import PoolKind, PoolOutcomes, PoolSetup, simulate_pool
from stoker_sim.traces.kaas import isolated, tenants
from stoker_sim.workload import Workload

pytestmark = pytest.mark.unit

SECOND_US = 1_000_000
START_US = 2 * SECOND_US


# -- footprints


def test_the_buffers_of_cgemm_are_what_the_isolated_worker_was_measured_to_hold() -> None:
    """Its dimensions are one source, nvidia-smi beside one executor is another."""
    measured_mib = isolated()["cGEMM", "kaas"].memory_mib - 367
    assert CGEMM.whole / (1 << 20) == pytest.approx(measured_mib, rel=0.01)


def test_a_request_has_its_tenants_buffers_and_an_input_of_its_own() -> None:
    needs = Footprint(constants=(5, 3), scratch=(2,), inputs=1)
    first, second = needs.of_request("a", 1), needs.of_request("a", 2)
    assert sum(buffer.size for buffer in first) == needs.whole == 11
    assert {b.name for b in first} & {b.name for b in second} == {b.name for b in first[:3]}
    assert not {b.name for b in first} & {b.name for b in needs.of_request("b", 1)}
    assert [b.stored for b in first] == [True, True, False, False]


@pytest.mark.parametrize(
    ("capacity", "reserve", "holds"),
    [
        (31, Reserve.MISSING, 3),
        (30, Reserve.MISSING, 2),
        (41, Reserve.WHOLE, 3),
        (40, Reserve.WHOLE, 2),
        (5, Reserve.WHOLE, 0),
    ],
)
def test_a_device_holds_as_many_tenants_as_fit_beside_the_request_that_runs(
    capacity: int, reserve: Reserve, holds: int
) -> None:
    assert Footprint(constants=(10,), inputs=1).tenants_on(capacity, reserve) == holds


def test_blocks_round_each_buffer_up() -> None:
    assert Footprint(constants=(5, 8), scratch=(1,), inputs=9).in_blocks(4) == Footprint(
        constants=(8, 8), scratch=(4,), inputs=12
    )


def test_what_buffers_may_take_is_the_device_without_context_and_margin() -> None:
    assert buffer_bytes(1000, 300, 200) == 500 << 20


# -- buffers


def used(cache: BufferCache, *names: str, size: int = 10) -> int:
    """One request with these buffers; bytes that were copied."""
    buffers = [Buffer(name, size) for name in names]
    copied = cache.pin(buffers)
    cache.release(buffers)
    return copied


def test_a_buffer_is_copied_once_and_found_afterwards() -> None:
    cache = BufferCache(30)
    assert used(cache, "a", "b") == 20
    assert used(cache, "a", "b") == 0
    assert (cache.hits, cache.compulsory, cache.capacity_misses, cache.used) == (2, 2, 0, 20)


def test_scratch_takes_memory_and_no_copy() -> None:
    cache = BufferCache(30)
    assert cache.pin([Buffer("a", 10), Buffer("s", 5, stored=False)]) == 10
    assert cache.used == 15


def test_the_least_recently_used_buffer_is_evicted_first() -> None:
    cache = BufferCache(20)
    for name in ("a", "b", "a", "c"):
        used(cache, name)
    assert [cache.holds(name) for name in "abc"] == [True, False, True]
    assert used(cache, "b") == 10
    assert (cache.evictions, cache.capacity_misses) == (2, 1)


def test_what_was_used_more_than_twice_stays_when_what_was_not_can_go() -> None:
    cache = BufferCache(20)
    for name in ("a", "a", "a", "b", "c"):
        used(cache, name)
    assert [cache.holds(name) for name in "abc"] == [True, False, True]


def test_what_runs_is_never_evicted() -> None:
    cache = BufferCache(20)
    running = [Buffer("a", 10), Buffer("b", 10)]
    cache.pin(running)
    with pytest.raises(NoRoom, match="a device holds 20"):
        cache.pin([Buffer("c", 10)])
    cache.release(running)
    cache.pin([Buffer("c", 10)])
    assert not cache.holds("a")


def test_room_for_the_whole_request_evicts_although_its_buffers_are_there() -> None:
    """As KaaS' code has it: the same requests that fit otherwise do not find all of their buffers."""
    copied = {}
    for reserve in Reserve:
        cache = BufferCache(30, reserve)
        copied[reserve] = [used(cache, name) for name in ("a", "b", "c", "a", "b", "c")]
    assert copied[Reserve.MISSING] == [10, 10, 10, 0, 0, 0]
    assert copied[Reserve.WHOLE][3:] == [10, 10, 10]


# -- who prefers which device


def test_few_tenants_use_all_devices_between_them() -> None:
    homes = assigned({"a": 1000, "b": 1000}, ["g0", "g1", "g2", "g3"], 16_000)
    assert homes == {"g0": {"a"}, "g1": {"b"}, "g2": {"a"}, "g3": {"b"}}


def test_tenants_are_dealt_out_to_the_devices_with_the_fewest() -> None:
    homes = assigned({f"t{at}": 2000 for at in range(8)}, ["g0", "g1", "g2", "g3"], 16_000)
    assert {device: len(its) for device, its in homes.items()} == {"g0": 2, "g1": 2, "g2": 2, "g3": 2}


def test_a_tenant_that_fits_nowhere_goes_where_least_is_assigned() -> None:
    homes = assigned({"a": 16_000, "b": 12_000, "c": 8_000}, ["g0", "g1"], 16_000)
    assert homes == {"g0": {"a"}, "g1": {"b", "c"}}


# -- whose worker is killed


def test_while_there_is_room_a_worker_is_started() -> None:
    assert Exclusive(["a", "b"]).decide("a", {"b": 1}, 2) == Start()


def test_a_tenant_without_a_worker_gets_one_of_those_with_the_most() -> None:
    assert Exclusive(["a", "b", "c"]).decide("c", {"a": 1, "b": 3}, 4) == Start("b")


def test_a_tenant_gets_one_more_only_if_it_would_still_have_fewer() -> None:
    rules = Exclusive(["a", "b"])
    assert rules.decide("a", {"a": 2, "b": 3}, 5) is None
    assert rules.decide("a", {"a": 1, "b": 3}, 4) == Start("b")


def test_tenants_with_equally_many_give_way_in_turn() -> None:
    rules = Exclusive(["a", "b", "c"])
    full = {"a": 1, "b": 1}
    assert [rules.decide("c", full, 2) for _ in range(3)] == [Start("a"), Start("b"), Start("a")]


def test_fixed_workers_stay_what_they_are() -> None:
    assert Static().decide("a", {}, 4) is None


# -- whole runs


def asked(count: int, outstanding: int) -> Workload:
    given = Assumptions(start_us=START_US, sharing=Sharing.SHARED, timeout_us=1_000 * SECOND_US)
    return tenants("bert", count, "exclusive", horizon_us=10 * SECOND_US, given=given, outstanding=outstanding)


def played(kind: PoolKind, count: int, outstanding: int = 2) -> PoolOutcomes:
    return simulate_pool(asked(count, outstanding), PoolSetup(kind=kind, gpus=2))


def most_at_once(outcomes: Outcomes) -> int:
    """Requests that held one device at the same time."""
    most = 0
    for device in range(len(outcomes.devices)):
        own = outcomes.device == device
        begin = outcomes.dispatch_us[own] + outcomes.start_us[own]
        events = sorted([(at, 1) for at in begin] + [(at, -1) for at in outcomes.finish_us[own]])
        most = max(most, int(np.max(np.cumsum([step for _, step in events]), initial=0)))
    return most


@pytest.mark.parametrize("kind", [PoolKind.BALANCE, PoolKind.AFFINITY, PoolKind.EXCLUSIVE])
def test_every_request_is_served_and_each_device_runs_one_at_a_time(kind: PoolKind) -> None:
    requests = played(kind, 3).requests
    assert len(requests) > 6
    assert requests.served.all()
    assert most_at_once(requests) == 1


def test_equal_runs_give_equal_bytes() -> None:
    first, second = (played(PoolKind.EXCLUSIVE, 3).requests for _ in range(2))
    for name, column in first.columns().items():
        assert column.tobytes() == second.columns()[name].tobytes()


def test_workers_settle_while_each_tenant_has_a_device() -> None:
    """The first tenant takes both devices and gives one back to the second; then nobody is killed any more."""
    found = played(PoolKind.EXCLUSIVE, 2)
    assert (found.cold_starts, found.killed) == (3, 1)
    assert len(found.requests) > 50


def test_with_one_tenant_more_nearly_every_request_starts_a_worker() -> None:
    found = played(PoolKind.EXCLUSIVE, 3)
    assert found.cold_starts >= 0.9 * len(found.requests)
    assert found.killed >= found.cold_starts - 2
    cold = found.requests.cold
    assert (found.requests.start_us[cold] >= START_US).all()


def test_fixed_workers_never_start_and_refuse_more_tenants_than_devices() -> None:
    found = played(PoolKind.STATIC, 2)
    assert (found.cold_starts, found.killed) == (0, 0)
    assert not found.requests.cold.any()
    with pytest.raises(BadSetup, match="3 tenants want 2 devices"):
        played(PoolKind.STATIC, 3)


def test_tenants_that_prefer_a_device_keep_to_it() -> None:
    requests = played(PoolKind.AFFINITY, 2, outstanding=4).requests
    for tenant in range(2):
        devices, counts = np.unique(requests.device[requests.function == tenant], return_counts=True)
        assert counts[devices == tenant].sum() >= 0.9 * counts.sum()
