"""Azure Functions: the project's sample, the public files, and the two ways of spreading arrivals in a minute."""

from pathlib import Path

import numpy as np
import pytest

from stoker_sim.assumptions import Assumptions
from stoker_sim.draws import Words, key_of
from stoker_sim.traces import azure_functions, azure_public
from stoker_sim.traces.spread import BURST, MINUTE_US, Spread, spread

pytestmark = pytest.mark.unit


def keys(*names: str) -> Words:
    return np.array([key_of(1, "arrival", name) for name in names], np.uint64)


@pytest.mark.parametrize("how", Spread)
def test_every_minute_keeps_its_count_and_its_arrivals(how: Spread) -> None:
    minute, count = np.array([480, 481, 959, 480]), np.array([3, 100, 1, 20])
    times = spread(keys("f", "f", "f", "g"), minute, count, how)
    parts = np.split(times, np.cumsum(count)[:-1])
    for part, at in zip(parts, minute, strict=True):
        assert (part // MINUTE_US == at).all()
        assert (np.diff(part) >= 0).all()


@pytest.mark.parametrize("how", Spread)
def test_arrivals_of_a_minute_hang_on_no_other_minute_and_no_other_function(how: Spread) -> None:
    minute, count = np.array([480, 481, 959]), np.array([3, 100, 1])
    times = spread(keys("f", "f", "g"), minute, count, how)
    alone = spread(keys("f"), minute[1:2], count[1:2], how)
    assert times[3:103].tolist() == alone.tolist()
    assert spread(keys("h"), minute[1:2], count[1:2], how).tolist() != alone.tolist()


def test_clustered_arrivals_come_in_bursts_and_uniform_ones_as_in_a_poisson_process() -> None:
    minute, count = np.arange(400), np.full(400, 10 * BURST)
    key = np.repeat(keys("f"), 400)
    dispersion = {}
    for how in Spread:
        bins = np.bincount(spread(key, minute, count, how) // 1_000_000, minlength=24_000)
        dispersion[how] = float(bins.var() / bins.mean())
    assert dispersion[Spread.UNIFORM] == pytest.approx(1, abs=0.06)
    assert dispersion[Spread.CLUSTERED] > 3


def test_the_sample_is_the_published_counts_of_the_minutes_asked_for() -> None:
    work = azure_functions.sample(begin_minute=480, end_minute=490)
    assert len(work.functions) == 250
    assert work.horizon_us == 10 * MINUTE_US
    per_minute = np.bincount(work.time_us // MINUTE_US)
    assert per_minute[:4].tolist() == [1027, 1272, 1047, 1121]
    f = work.keys.index("d0b8e0924e36/f000")
    assert work.functions[f].definition.labels["trigger"] == "orchestration"
    assert work.functions[f].definition.spec.gpu[0].memory_mib == 19
    assert work.functions[f].behaviour.median_us == 18_764_000
    assert "uniform" in work.arrival_notes[0]


def test_execution_times_follow_the_published_percentiles() -> None:
    work = azure_functions.sample(begin_minute=480, end_minute=540)
    busiest = int(np.bincount(work.function).argmax())
    times = work.exec_us[work.function == busiest]
    assert len(times) > 5_000
    assert np.median(times) == pytest.approx(work.functions[busiest].behaviour.median_us, rel=0.1)
    assert work.exec_us.min() == azure_functions.FLOOR_US


def test_a_window_of_the_sample_has_the_requests_that_the_whole_has_in_it() -> None:
    whole = azure_functions.sample(begin_minute=480, end_minute=484).slice(2 * MINUTE_US, 3 * MINUTE_US)
    window = azure_functions.sample(begin_minute=482, end_minute=483)
    assert window.time_us.tolist() == whole.time_us.tolist()
    assert window.exec_us.tolist() == whole.exec_us.tolist()
    assert window.function.tolist() == whole.function.tolist()


def test_seeds_change_arrivals_and_times_but_no_count() -> None:
    one, two = (
        azure_functions.sample(Spread.CLUSTERED, Assumptions(seed=seed), begin_minute=480, end_minute=483)
        for seed in (1, 2)
    )
    assert np.bincount(one.function).tolist() == np.bincount(two.function).tolist()
    assert one.time_us.tolist() != two.time_us.tolist()


HASHES = "HashOwner,HashApp,HashFunction"
A, B, C = ("a1" * 32, "b2" * 32, "c3" * 32)


def public_day(folder: Path) -> Path:
    minutes = ",".join(str(minute) for minute in range(1, 1441))
    rows = {
        f"{A},{A},{A},http": {0: 2, 5: 1, 1439: 4},
        f"{A},{A},{B},timer": {5: 3},
        f"{B},{B},{C},queue": {0: 1},
    }
    lines = [f"{names}," + ",".join(str(counts.get(m, 0)) for m in range(1440)) for names, counts in rows.items()]
    (folder / "invocations_per_function_md.anon.d02.csv").write_text(
        "\n".join([f"{HASHES},Trigger,{minutes}", *lines]) + "\n"
    )
    percentiles = ",".join(f"percentile_Average_{at}" for at in (0, 1, 25, 50, 75, 99, 100))
    (folder / "function_durations_percentiles.anon.d02.csv").write_text(
        f"{HASHES},Average,Count,Minimum,Maximum,{percentiles}\n"
        f"{A},{A},{A},10,7,1,90,2,2,5,10,20,80,85\n"
        f"{A},{A},{B},10,7,5,5,5,5,5,5,5,5,5\n"
        f"{B},{B},{C},10,7,,,5,5,5,5,5,5,5\n"
    )
    (folder / "app_memory_percentiles.anon.d02.csv").write_text(
        f"HashOwner,HashApp,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1\n{A},{A},4,150.4,100\n"
    )
    return folder


def test_a_day_of_the_public_2019_trace_is_joined_from_its_three_files(tmp_path: Path) -> None:
    work = azure_public.load_2019(public_day(tmp_path), day=2)
    assert work.keys == (f"{A[:12]}/{A[:12]}", f"{A[:12]}/{B[:12]}")
    assert np.bincount(work.function).tolist() == [7, 3]
    assert sorted((work.time_us[work.function == 0] // MINUTE_US).tolist()) == [0, 0, 5, 1439, 1439, 1439, 1439]
    assert work.exec_us[work.function == 1].tolist() == [5_000] * 3
    assert work.functions[0].behaviour.median_us == 10_000
    assert work.functions[0].definition.spec.gpu[0].memory_mib == 150
    assert work.functions[1].definition.labels["trigger"] == "timer"
    assert work.horizon_us == 1440 * MINUTE_US
    assert "1 of 3 functions have no usable execution times and are left out" in work.notes


def test_a_share_of_the_public_trace_is_chosen_by_function(tmp_path: Path) -> None:
    folder = public_day(tmp_path)
    chosen = {azure_public.load_2019(folder, 2, given=Assumptions(seed=seed), share=0.6).keys for seed in range(4)}
    assert len(chosen) > 1
    assert all(set(keys) <= {f"{A[:12]}/{A[:12]}", f"{A[:12]}/{B[:12]}"} for keys in chosen)


def test_the_2021_trace_is_put_in_the_order_of_arrival(tmp_path: Path) -> None:
    path = tmp_path / "AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt"
    path.write_text(
        f"app,func,end_timestamp,duration\n{A},{A},100.5,0.5\n{A},{B},100.25,40.25\n{B},{A},160,0\n{A},{A},161,0.1\n"
    )
    work = azure_public.load_2021(path)
    first, second, third = (f"{A[:12]}/{A[:63]}"[:13], f"{A[:12]}/", f"{B[:12]}/")
    assert [key[:13] for key in work.keys] == [first, second, third]
    assert work.time_us.tolist() == [0, 40_000_000, 100_000_000, 100_900_000]
    assert work.function.tolist() == [1, 0, 2, 0]
    assert work.exec_us.tolist() == [40_250_000, 500_000, 500, 100_000]
    later = azure_public.load_2021(path, begin_s=30, end_s=100.5)
    assert later.time_us.tolist() == [10_000_000, 70_000_000]
    assert later.keys == (work.keys[0], work.keys[2])
