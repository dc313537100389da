"""Traces of language models: Azure LLM 2023, Mooncake, ServeGen, and the times that Splitwise measured."""

import numpy as np
import pytest

from stoker_sim.assumptions import Assumptions
from stoker_sim.llm_timing import llama2_70b
from stoker_sim.traces import azure_llm, mooncake, servegen
from stoker_sim.traces.azure_llm import Service
from stoker_sim.traces.llm_requests import Serving

pytestmark = pytest.mark.unit


def test_times_are_the_measured_ones_where_there_are_and_linear_in_between() -> None:
    timing = llama2_70b()
    prompt, one = np.array([512, 768, 8192, 16384]), np.ones(4, np.int64)
    alone = timing.exec_us(prompt, one)
    assert alone[0] == 92_834
    assert alone[0] < alone[1] < 154_458
    assert alone[3] - alone[2] == pytest.approx(2 * (1_549_820 - 661_222), rel=1e-6)
    assert timing.beyond(prompt) == 1
    assert timing.exec_us(prompt[:1], np.array([101]))[0] == 92_834 + 100 * 44_852
    assert timing.exec_us(prompt[:1], np.array([101]), 16)[0] == 92_834 + 100 * 50_435


def test_the_newer_gpu_is_faster() -> None:
    prompt, answer = np.array([300, 1000, 4000]), np.array([5, 50, 500])
    assert (llama2_70b("H100").exec_us(prompt, answer) < llama2_70b("A100").exec_us(prompt, answer)).all()
    assert llama2_70b("H100").product == "8xH100-80GB"


def test_azures_services_are_there_and_each_request_has_an_objective_of_its_own() -> None:
    work = azure_llm.sample(Service.CODE, given=Assumptions(slo_factor=3))
    assert (len(work), work.keys) == (7148, ("llm/code",))
    assert work.slo_us is not None
    assert (work.slo_us == 3 * work.exec_us).all()
    definition = work.functions[0].definition
    assert definition.spec.scaling.concurrency == 16
    assert definition.spec.timeout_us >= work.slo_us.max()
    assert np.diff(work.time_us).max() == pytest.approx(173.5e6, rel=0.01)
    assert any("Splitwise" in note for note in work.notes)


def test_requests_are_dealt_to_several_functions_at_random() -> None:
    work = azure_llm.sample(Service.CODE, Serving(functions=4))
    assert sorted(work.keys) == [f"llm/code-{at}" for at in range(4)]
    assert np.bincount(work.function) == pytest.approx(7148 / 4, rel=0.1)
    assert "4 functions" in work.notes[-1]


def test_mooncakes_ticks_are_spread_unless_they_shall_stay() -> None:
    work, ticks = mooncake.load(), mooncake.load(spread_ticks=False)
    assert len(work) == len(ticks) == 7689
    assert len(np.unique(ticks.time_us)) < 1000 < len(np.unique(work.time_us))
    assert work.exec_us.sum() == ticks.exec_us.sum()
    assert (np.sort(work.time_us) >= ticks.time_us).all()
    assert len(work.arrival_notes) == 1 > len(ticks.arrival_notes)
    assert any("extrapolated" in note for note in work.notes)


def test_servegens_clients_ask_at_their_published_rates() -> None:
    work = servegen.load("deepseek-r1", end_s=1800)
    counts = np.bincount(work.function)
    table = servegen._windows()
    mine = table.texts["model"].rows_of("deepseek-r1") & (table.numbers["window_start_s"] < 1800)
    for index, key in enumerate(work.keys):
        rows = mine & (table.numbers["client"] == int(key.removeprefix("deepseek-r1/c")))
        expected = 600 * table.numbers["rate_rps"][rows].sum()
        assert counts[index] == pytest.approx(expected, abs=float(rows.sum()) + 1e-6)
    assert work.horizon_us == 1_800_000_000
    assert "0 of" in work.notes[-1]


def test_a_window_of_servegen_is_the_same_whatever_is_asked_for_beside_it() -> None:
    client = frozenset({7, 8, 9, 10})
    both = servegen.load("mm-image", end_s=1200, clients=client)
    second = servegen.load("mm-image", begin_s=600, end_s=1200, clients=client)
    assert both.slice(600_000_000, 1_200_000_000).time_us.tolist() == second.time_us.tolist()
    fewer = servegen.load("mm-image", end_s=1200, clients=frozenset(sorted(client)[:2]))
    assert both.only(fewer.keys).time_us.tolist() == fewer.time_us.tolist()


def test_a_lower_rate_of_servegen_has_fewer_requests() -> None:
    half = servegen.load("deepseek-r1", rate=0.5)
    assert len(half) == pytest.approx(len(servegen.load("deepseek-r1")) / 2, rel=0.05)


def test_bursty_clients_stay_bursty() -> None:
    draw = np.random.Generator(np.random.Philox(1))
    smooth = np.diff(servegen._arrivals(5, 4.0, draw, gamma=True))
    bursty = np.diff(servegen._arrivals(5, 0.1, draw, gamma=True))
    assert smooth.std() / smooth.mean() < 0.7
    assert bursty.std() / bursty.mean() > 2


def test_clients_without_published_lengths_have_those_of_the_median_client() -> None:
    assert servegen.lengths("m-large") == {}
    assert servegen.lengths("deepseek-r1")[min(servegen.lengths("deepseek-r1"))].output_p50 > 1
    work = servegen.load("m-large", end_s=600, rate=0.02)
    assert f"{len(work.functions)} of {len(work.functions)} clients publish no lengths" in work.notes[-1]
