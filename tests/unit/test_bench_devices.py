"""The bench of device choices: what is served, and when live and simulated are said to rank alike."""

from pathlib import Path

import pytest
import yaml
from bench.overload.devices_report import disagreements, ranked
from bench.overload.devices_world import (
    CPU_MILLIS,
    CPU_PRICE,
    CPU_REPLICAS,
    GPUS,
    MIX,
    arrivals_of,
    documents,
    served_as,
)

from stoker.wire.policy import decode_policy
from stoker_node.devices import cpu_device
from stoker_sim.results.heterogeneous_mixes import PRICES
from stoker_sim.results.heterogeneous_study import CHOICES, setup, workload
from stoker_sim.workload import CPU

pytestmark = pytest.mark.unit


def objects(choice: str) -> list[dict[str, object]]:
    return list(yaml.safe_load_all(documents(choice, Path("folder"))))


def test_pairs_that_are_ranked_otherwise_count_where_both_are_apart() -> None:
    live = {"a": 1.0, "b": 5.0, "c": 5.5}
    assert disagreements(live, live) == []
    assert disagreements(live, {"a": 5.0, "b": 1.0, "c": 9.0}) == ["a and b"]
    assert disagreements(live, {"a": 1.0, "b": 9.0, "c": 4.0}) == [], "b and c are as good as equal live"
    assert ranked({"b": 1.0, "a": 1.0, "c": 0.5}) == ("c", "a", "b")


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_is_served_the_same_functions_with_the_prices_of_the_study(choice: str) -> None:
    *functions, policy = objects(choice)
    assert policy["spec"]["deviceChoice"] == choice  # type: ignore[index]
    assert decode_policy(policy).device_choice == choice, "one that is not valid would act for none"
    prices = {one["product"]: one["perHour"] for one in policy["spec"]["prices"]}  # type: ignore[index]
    assert prices == {**{GPUS[name]: PRICES[name] for name in GPUS}, CPU: CPU_PRICE}
    assert [one["metadata"]["name"] for one in functions] == [one.name for one in MIX.members]  # type: ignore[index]
    assert functions == objects(CHOICES[0])[:-1]


def test_work_is_told_in_the_time_of_the_faster_gpu() -> None:
    for member in MIX.members:
        served = served_as(member)
        assert (served.units, served.latency_ms) == (member.fast_ms, member.objective_ms)


def test_as_many_cpu_replicas_fit_as_in_the_study_at_the_price_of_one_there() -> None:
    cores = next(device for device in setup("slack", 1).devices if device.product == CPU)
    assert cpu_device(cores=1).millicores // CPU_MILLIS == cores.millicores // 1000 == CPU_REPLICAS
    assert pytest.approx(PRICES[CPU], rel=1e-4) == CPU_PRICE * CPU_MILLIS / 1000


def test_live_requests_are_those_of_the_simulator() -> None:
    work = workload(MIX, 0.9, 1, horizon_us=2_000_000)
    drawn = arrivals_of(work)
    assert len(drawn) == len(work.time_us) > 0
    assert (drawn.at_us == work.time_us).all()
    assert (drawn.stream == work.function).all()
    assert drawn.units * 1000 == pytest.approx(work.exec_us)
