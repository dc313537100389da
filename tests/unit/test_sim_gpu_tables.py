"""Measured GPU tables: DISB, KaaS, kernel graphs, co-location, start-ups, profiles."""

import pytest

from stoker.model.function import Priority
from stoker_sim import colocation, profiles, start_up
from stoker_sim.traces import disb, kaas
from stoker_sim.workload import CPU

pytestmark = pytest.mark.unit


def test_disb_has_real_time_clients_beside_closed_loops_of_lower_priority() -> None:
    work = disb.load()
    assert (len(work), len(work.functions), len(work.closed)) == (1209, 10, 5)
    assert work.keys[:2] == ("real-time/inceptionv3", "real-time/resnet152")
    priorities = {f.definition.namespace: f.definition.spec.priority for f in work.functions}
    assert priorities == {"real-time": Priority.STANDARD, "best-effort": Priority.BATCH}
    assert {work.functions[loop.function].definition.namespace for loop in work.closed} == {"best-effort"}
    assert work.functions[0].behaviour.exec_us == {"RTX3080": 2929}
    assert disb.load(server="triton", best_effort=False).functions[0].behaviour.median_us == 5221
    assert disb.load(best_effort=False).closed == ()


def test_kaas_tenants_are_closed_loops_that_take_what_was_measured_alone() -> None:
    work = kaas.tenants("cGEMM", 5, "exclusive")
    assert work.keys == tuple(f"tenant-{at}/cgemm" for at in range(5))
    assert work.functions[0].behaviour.exec_us == {"V100": 44_958}
    assert work.functions[0].definition.spec.gpu[0].memory_mib == 2279
    assert work.functions[0].behaviour.cold_us == 4_472_760
    assert {loop.clients for loop in work.closed} == {kaas.OUTSTANDING}
    assert len(work) == 0
    assert "StreamBox" in work.notes[-1]


def test_kaas_tables_hold_what_was_published() -> None:
    assert set(kaas.isolated()) == {
        (workload, mode) for workload in ("bert", "cGEMM", "jacobi", "resnet50") for mode in ("exclusive", "kaas")
    }
    by_tenants = {(t.workload, t.mode, t.clients): t.per_second for t in kaas.published()}
    assert by_tenants["resnet50", "exclusive", 5] == pytest.approx(1.54, abs=0.01)
    assert by_tenants["cGEMM", "kaas", 32] == pytest.approx(16.1, abs=0.05)
    assert by_tenants["jacobi", "fractional", 16] == pytest.approx(201.3, abs=0.1)


def test_kernel_graphs_are_one_inference_in_the_order_of_launch() -> None:
    graphs = {graph.model: graph for graph in kaas.kernel_graphs()}
    assert {model: len(graph.kernels_us) for model, graph in graphs.items()} == {
        "resnet50": 175,
        "mobilenetv2": 152,
        "bert": 572,
        "efficientnet": 823,
        "transformer_xl": 459,
    }
    assert graphs["bert"].total_us == pytest.approx(48_600, rel=0.01)
    assert graphs["bert"].kernels_us[:3] == (6.144, 3.136, 3.136)


@pytest.mark.parametrize("gpu", colocation.GPUS)
def test_nobody_gets_faster_by_company_and_pairs_that_do_not_fit_are_apart(gpu: str) -> None:
    table = colocation.gavel(gpu)
    assert len(table.slowdown) == 26
    factors = [factor for others in table.slowdown.values() for factor in others.values()]
    assert min(factors) >= 1
    assert max(factors) < 100
    assert all(partner not in table.slowdown[job] for job, partner in table.unfit)


def test_a_slowdown_is_time_beside_over_time_alone() -> None:
    table = colocation.gavel("k80")
    alone, beside = 4.7953, 2.54  # the first two rows of the file
    factor = table.slowdown["ResNet-18 (batch size 16)"]["ResNet-18 (batch size 32)"]
    assert factor == pytest.approx(alone / beside, rel=1e-6)


def test_disbs_clients_get_slower_together() -> None:
    real = {c.name: c for c in colocation.disb_clients() if (c.server, c.workload) == ("trt", "REAL")}
    assert real["resnet152_rt"].together_us / real["resnet152_rt"].alone_us == pytest.approx(5.43, abs=0.01)


def test_start_ups_name_their_source_and_torpors_are_a_tenth_of_cold() -> None:
    assert start_up.phase_us("llm-engine", "cold_start_total", "mean", "GPT-J") == 15_700_000
    assert start_up.phase_us("clockwork-repro", "weights_host_to_gpu", "value") == 8372
    with pytest.raises(KeyError, match="torpor"):
        start_up.phase_us("torpor", "cold", "mean")
    for known in start_up.TORPOR_START_UPS:
        assert "Torpor" in known.source
        assert known.hibernated_us <= known.cold_us / 10
    assert start_up.RESNET152.hibernated_us == 290_000


def test_every_measured_load_of_serverlessllm_is_there() -> None:
    fast = start_up.load_times_us("H100-SXM", "Qwen_Qwen3-32B", "sllm")
    slow = start_up.load_times_us("H100-SXM", "Qwen_Qwen3-32B", "safetensors")
    assert (len(fast), len(slow)) == (30, 30)
    assert max(fast) < min(slow)
    assert len(start_up.load_times_us("H100-SXM", "Qwen_Qwen3-32B", "sllm", "cached")) == 5
    assert start_up.load_times_us("T4", "Qwen_Qwen3-32B", "sllm") == ()


def test_profiles_are_sorted_and_every_figure_has_a_source() -> None:
    found = profiles.catalogue()
    times = [profile.exec_us["A100"].value for profile in found]
    assert times == sorted(times)
    assert len({profile.name for profile in found}) == len(found) >= 20
    for profile in found:
        assert all(figure.source for figure in profile.figures().values())
        assert all(figure.value > 0 for figure in profile.figures().values())
        assert not {name for name in profile.assumed() if name.startswith("exec_us")}
        assert profile.p99_over_p50 >= 1
        assert profile.interference in colocation.gavel("v100").slowdown


def test_profiles_hold_the_published_times_and_memory() -> None:
    by_name = {profile.name: profile for profile in profiles.catalogue()}
    assert {p: f.value for p, f in by_name["resnet50-b32"].exec_us.items()} == {
        "A100": 16_230,
        "T4": 32_920,
        "V100": 13_415,
    }
    assert by_name["nnunet"].exec_us["T4"].value == 109_417
    assert by_name["bert-large"].memory_mib.value == 1621
    assert by_name["bert-large"].assumed() == ("cold_us", "resume_us", "swap_mib")
    small = {profile.name: profile for profile in profiles.small_gpu_catalogue()}
    assert (small["vgg16"].exec_us["TitanX"].value, small["vgg16"].memory_mib.value) == (6277, 906)


def test_a_catalogue_holds_only_what_was_measured_on_all_of_its_products() -> None:
    more = profiles.catalogue(("A30", "T4"))
    assert 0 < len(more) < len(profiles.catalogue())
    assert all(set(profile.exec_us) == {"A30", "T4"} for profile in more)
    behaviour = more[0].behaviour(("T4", "A30"))
    assert behaviour.reference == "T4"
    assert behaviour.exec_on("A30-24GB") == more[0].exec_us["A30"].value
    assert behaviour.exec_on(CPU) is None
