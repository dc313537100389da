"""What devices did: GPU-seconds held and used, useful work, starts and cost, cut to the measured time."""

import numpy as np
import pytest
from sim_outcomes import CORES, GPU, Row, function, sampled, stay

from stoker.model.function import Variant
from stoker_sim.engine.setup import Form
from stoker_sim.evaluate.usage import covered_us, usage

pytestmark = pytest.mark.unit

POOL = Form.LATE_BINDING


def test_a_resident_holds_its_share_of_the_memory_and_an_exclusive_one_the_whole_device() -> None:
    stays = [stay(0, 400), stay(0, 400, exclusive=True)]
    values = usage(sampled([Row(at=0)], stays=stays), POOL, {})
    assert values["held_gpu_s"] == pytest.approx((0.25 + 1) * 400e-6)
    assert values["held_gib_s"] == pytest.approx(2 * 4 * 400e-6)


def test_what_is_held_and_used_is_cut_to_the_measured_time() -> None:
    rows = [Row(at=0, exec=300), Row(at=900, exec=500)]
    stays = [stay(0, 200, exclusive=True), stay(150, 5000, exclusive=True)]
    values = usage(sampled(rows, stays=stays, warm_up=100), POOL, {})
    assert values["held_gpu_s"] == pytest.approx((100 + 850) * 1e-6)
    assert values["used_gpu_s"] == pytest.approx((200 + 100) * 1e-6)


def test_with_static_residence_every_gpu_is_held_all_the_time() -> None:
    values = usage(sampled([Row(at=0)], devices=(GPU, CORES)), Form.STATIC, {"A100": 3.6})
    assert values["held_gpu_s"] == pytest.approx(1000e-6)
    assert values["cost"] == pytest.approx(1e-3 * 3.6 / 3600)


def test_used_is_time_in_which_anything_ran_and_no_start_up() -> None:
    rows = [Row(at=0, exec=100, start=50), Row(at=100, exec=100), Row(at=500, exec=100)]
    assert usage(sampled(rows), POOL, {})["used_gpu_s"] == pytest.approx((150 + 100) * 1e-6)


def test_useful_work_is_the_isolated_time_of_requests_on_time_on_gpus() -> None:
    rows = [Row(at=0, exec=40), Row(at=0, exec=40, dispatch=500), Row(at=0, exec=40, device=1)]
    values = usage(sampled(rows, devices=(GPU, CORES)), POOL, {})
    assert values["useful_gpu_s_per_s"] == pytest.approx(40 / 1000)
    assert values["goodput_per_s"] == pytest.approx(2 / 1000e-6)


def test_starts_are_residences_that_began_in_the_measured_time() -> None:
    stays = [stay(0, 50), stay(100, 200), stay(300, 400, function=1)]
    assert usage(sampled([Row(at=100)], stays=stays, warm_up=100), POOL, {})["starts"] == 2


def test_cost_is_by_share_of_a_gpu_and_by_core() -> None:
    owner = function("a/f", cpu_variant=True)
    stays = [stay(0, 1000), stay(0, 1000, device=1, variant=Variant.CPU)]
    sample = sampled([Row(at=0)], (owner,), devices=(GPU, CORES), stays=stays)
    cores = owner.definition.container_of(Variant.CPU).cpu_millis / 1000
    priced = usage(sample, POOL, {"A100": 4.0, "cpu": 0.5})
    assert priced["cost"] == pytest.approx((0.25 * 4.0 + cores * 0.5) * 1e-3 / 3600)
    assert usage(sample, POOL, {})["cost"] is None


@pytest.mark.parametrize(
    ("spans", "length"), [([], 0), ([(0, 5)], 5), ([(3, 5), (0, 4)], 5), ([(0, 9), (2, 3), (9, 10), (12, 13)], 11)]
)
def test_time_that_spans_cover_counts_once(spans: list[tuple[int, int]], length: int) -> None:
    columns = np.array(spans, np.int64).reshape(-1, 2)
    assert covered_us(columns[:, 0], columns[:, 1]) == length
