"""What a what-if reads of a small log that a real `stoker serve` wrote, and what it changes; answers: tests/sim.

`python -m bench.golden_log` recorded it: 100 requests of three functions on two simulated GPUs. Its folder was taken
out afterwards, so its plans replay with other digests of their memory; what is read of it here is what was measured.
"""

import gzip
from pathlib import Path
from typing import Any

import pytest
from event_logs import Files, ScriptedAgent, recording

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Variant
from stoker.testing.builders import make_cpu, make_gpu
from stoker_sim.whatif.change import BadChange, Change, ratios
from stoker_sim.whatif.change import changed as devices_after
from stoker_sim.whatif.logged import EmptyLog, Logged, logged
from stoker_sim.whatif.rebuilt import Rebuilt

pytestmark = pytest.mark.unit

LOG = Path(__file__).parents[1] / "golden" / "files" / "event-log.jsonl.gz"


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    with gzip.open(LOG) as file:
        return file.readlines()


@pytest.fixture(scope="module")
def log(lines: list[bytes]) -> Logged:
    return logged(lines)


def test_a_log_tells_what_was_measured(log: Logged) -> None:
    assert [device.product for device in log.devices] == ["T4-16GB", "T4-16GB", "cpu"]
    assert len(log.requests) == 100
    assert all(request.took_us for request in log.requests)
    assert list(log.pops) == ["least-slack"]
    assert sorted(log.functions) == ["default/quick", "default/rare", "default/slow"]
    assert len(log.starts_us["default/rare", Variant.GPU]) > 1
    assert log.requests == sorted(log.requests, key=lambda request: request.arrival_us)
    assert log.requests[-1].arrival_us < log.horizon_us
    assert (log.strangers, log.cut, log.changed) == (0, False, set())


def test_a_product_with_measured_profiles_brings_their_ratios() -> None:
    its = ratios("T4-16GB", "A100-40GB")
    assert its.known
    assert len(its.values) > 10
    assert all(ratio < 1.2 for ratio in its.values)
    assert {its.drawn(seed, "f") for seed in range(200)} <= set(its.values)
    assert its.drawn(3, "f") == its.drawn(3, "f")
    assert ratios("A100-40GB", "A100-80GB").values == (1.0,)


GPUS = (make_gpu("a", product="T4-16GB", memory_mib=16_384), make_gpu("b", product="L4-24GB"), make_cpu())


def test_gpus_are_taken_away_added_and_replaced() -> None:
    def after(**change: Any) -> list[tuple[str, str, int]]:
        devices, _ = devices_after(GPUS, Change(**change))
        assert devices[-1].kind is DeviceKind.CPU
        return [(device.id, device.product, device.memory_mib) for device in devices[:-1]]

    assert after(gpus=1) == [("a", "T4-16GB", 16_384)]
    assert after(gpus=4)[2:] == [("more-2", "T4-16GB", 16_384), ("more-3", "L4-24GB", 40_960)]
    assert after(products={"T4": "A100-80GB"})[0] == ("a", "A100-80GB", 81_920)
    assert after(products={"L4-24GB": "H200"})[1] == ("b", "H200", 40_960)
    assert devices_after(GPUS, Change(products={"T4": "L40"}))[1] == {"L40": "T4-16GB"}


@pytest.mark.parametrize(
    ("devices", "change", "reason"),
    [
        (GPUS, Change(products={"K80": "T4"}), "no GPU of product K80 in the log; its products are: T4-16GB, L4-24GB"),
        (GPUS[2:], Change(gpus=2), "the log has no GPU"),
        (GPUS[2:], Change(products={"T4": "L4"}), "the log has no GPU"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(devices: tuple[Device, ...], change: Change, reason: str) -> None:
    with pytest.raises(BadChange, match=reason):
        devices_after(devices, change)


def test_a_replication_keeps_what_belongs_together_and_about_when_it_came(log: Logged) -> None:
    rebuilt = Rebuilt(log)
    was, drawn, again = (rebuilt.workload(seed, {}) for seed in (0, 5, 5))
    assert was.time_us.tolist() == [request.arrival_us for request in log.requests]
    assert drawn.time_us.tolist() == again.time_us.tolist()
    assert drawn.time_us.tolist() != was.time_us.tolist()
    assert drawn.horizon_us == was.horizon_us
    pairs = set(zip(was.function.tolist(), was.exec_us.tolist(), strict=True))
    assert set(zip(drawn.function.tolist(), drawn.exec_us.tolist(), strict=True)) <= pairs
    assert 60 < len(drawn) < 140


def test_what_began_before_the_file_is_left_out_and_counted() -> None:
    files = Files()
    agent = ScriptedAgent(recording(files, part_bytes=20_000), "fcfs")
    agent.run(60)
    assert len(files.files) > 1
    with pytest.raises(EmptyLog, match="no request that was run to its end"):
        logged(files.files[1])
