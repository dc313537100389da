"""Scenarios: what a file may say, what is wrong with it in one sentence, and what it means for the engine."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from stoker.errors import StokerError
from stoker.model.device import DeviceKind
from stoker.model.function import KeepAlivePolicy, PreWarmPolicy, Priority, Sharing
from stoker.model.policy import AdmissionMode, ScalingPolicy
from stoker_sim.compare import Setting, seeds_of, settings_of
from stoker_sim.engine.setup import KUBERNETES_SHARED, Form
from stoker_sim.evaluate.quality import SUFFIX
from stoker_sim.scenario import (
    DeviceChoice,
    MemoryChoice,
    PolicyChoice,
    Scenario,
    assumptions,
    devices_of,
    setup_of,
    with_keep_alive,
)
from stoker_sim.scenario_file import BadScenarioFile, read_scenario
from stoker_sim.sources.forms import AnySource, Mapped
from stoker_sim.sources.making import load_of, make
from stoker_sim.sources.units import as_written, decode_unit
from stoker_sim.summary import SUMMARISED
from stoker_sim.workload import Workload

pytestmark = pytest.mark.unit

GOOD = """\
workload:
  kind: poisson
  functions: 4
  perSecond: 30
  exec: [20ms, 60ms]
  duration: 60s
devices:
  - {product: A100, memory: 16Gi, count: 2}
policies: [fcfs, edf]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "world.yaml"
    path.write_text(text)
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(BadScenarioFile) as caught:
        read_scenario(written(folder, text))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence.removeprefix(f"{folder / 'world.yaml'}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", " line 1: is no scenario; begin it with workload: and devices:"),
        ("workload: [\n", " line 2: is not valid YAML: expected the node content, but found '<stream end>'"),
        (GOOD[: GOOD.index("devices")], " line 1: devices is missing"),
        (
            GOOD.replace("perSecond", "perSecnd"),
            " line 4, workload.perSecnd: there is no such field here; did you mean",
        ),
        (GOOD.replace("poisson", "poison"), " line 2, workload.kind: Invalid value 'poison'; use one of: csv, azure-f"),
        (GOOD.replace("60ms", "60"), " line 5, workload.exec[1]: '60' is not a duration; write a number and us, ms"),
        (GOOD.replace("16Gi", "16 GB"), " line 8, devices[0].memory: '16 GB' is not an amount of memory; write"),
        (GOOD.replace("product: A100, ", ""), " line 8, devices[0]: a GPU needs product and memory"),
        (GOOD.replace("count: 2", "cores: 4"), " line 8, devices[0]: a CPU device has cores, and no product"),
        (GOOD.replace("edf", "lifo"), " line 9, policies[1]: no queueing policy is named 'lifo'; choose one of batch,"),
        (GOOD.replace("edf", "fcfs"), " line 9, policies[1]: a policy named 'fcfs' is there already; give it a name"),
        (GOOD.replace("edf", "{eviction: x}"), " line 9, policies[1]: there is no eviction policy 'x'; use one of"),
        (GOOD.replace("edf", "{allocation: x}"), " line 9, policies[1]: there is no allocation policy 'x'; use one"),
        (GOOD + "seeds: 0\n", " line 10, seeds: expected int >= 1"),
        (GOOD + "policies: []\n", " line 10: policies is given twice; keep one"),
        (GOOD + "loads: [0.5, 0]\n", " line 10, loads[1]: expected float > 0.0"),
        (GOOD + "prices:\n  A100: -1\n", " line 10, prices[...]: expected float >= 0.0"),
        (GOOD + "slowdowns: h100\n", " line 10, slowdowns: 'h100' is not in the table; it has k80, p100, v100"),
        (GOOD + "name: 2020-13-45\n", ": month must be in 1..12"),
        (GOOD + "form: foo\n", " line 10, form: Invalid enum value 'foo'; use one of: late-binding, replicas, static"),
        (
            GOOD.replace("edf", "{keepAlive: Foo}"),
            " line 9, policies[1].keepAlive: Invalid enum value 'Foo'; use",
        ),
        (GOOD + "12: 3\n", " line 10: 12 is no name of a field; it reads as a number, a date or"),
        (GOOD + "loads: [0.5, 1e3]\n", " line 10, loads[1]: expected float, got str; YAML reads 1e3 as text, wr"),
        (GOOD + "loads: [.inf]\n", " line 10, loads[0]: expected float < 1000.0"),
        (GOOD + "loads: [0.5, 0.9, 0.5]\n", " line 10, loads[2]: 0.5 is there already"),
        (GOOD + "sloFactors: [.inf]\n", " line 10, sloFactors[0]: expected float <= 1000000.0"),
        (GOOD + "memories: [1Gi, 1024Mi]\n", " line 10, memories[1]: 1024Mi is there already"),
        (GOOD + "prices: {A100: .inf}\n", " line 10, prices[...]: expected float <= 1000000.0"),
        (GOOD + "a: " + "[" * 500 + "]" * 500 + "\n", ": is nested too deeply"),
        (GOOD + 'name: "a\0b"\n', " line 10: is not valid YAML: special characters are not allowed (#x0000)"),
        (GOOD.replace("20ms", "0s"), " line 5, workload.exec[0]: 0s is no time; give more"),
        (GOOD.replace("60s", "0s"), " line 6, workload.duration: 0s is no time; give more"),
        (GOOD.replace("perSecond: 30", "perSecond: 1.0e+7"), " line 4, workload.perSecond: expected float <= 1000"),
        (GOOD.replace("perSecond: 30", "perSecond: 1.0e+6"), " line 1, workload: asks for about 60000000 requests; at"),
        (
            "workload: [{kind: periodic, period: [0s]}]\ndevices: [{product: X, memory: 1Gi}]\n",
            " line 1, workload[0].period[0]: 0s is no time; give more",
        ),
        (
            "workload: {kind: azure-functions, beginMinute: 9, endMinute: 9}\ndevices: [{cores: 1}]\n",
            " line 1, workload.endMinute: minutes from 9 to 9 are none; let endMinute be after beginMinute",
        ),
        (
            GOOD.replace("{product: A100, memory: 16Gi, count: 2}", "{cores: 2}") + "memories: [1Gi]\n",
            " line 10, memori",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_with_line_and_field(tmp_path: Path, text: str, told: str) -> None:
    assert complaint(tmp_path, text).startswith(told)


def test_a_file_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadScenarioFile, match="there is no such file"):
        read_scenario(tmp_path / "absent.yaml")
    with pytest.raises(BadScenarioFile, match="is a folder"):
        read_scenario(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(BadScenarioFile, match="line 1: is not UTF-8 text"):
        read_scenario(tmp_path / "latin.yaml")


def test_a_scenario_is_named_after_its_file_and_has_defaults(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path, GOOD))
    assert (scenario.name, scenario.form, seeds_of(scenario)) == ("world", Form.LATE_BINDING, (0,))
    assert settings_of(scenario) == (Setting(),)
    assert [choice.label for choice in scenario.choices] == ["fcfs", "edf"]


def test_a_scenario_as_it_is_written_reads_as_itself(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path, GOOD.replace("edf", "{queueing: edf, keepAliveTtl: 1500ms}")))
    said = as_written(scenario)
    assert msgspec.convert(said, Scenario, dec_hook=decode_unit) == scenario
    assert (said["workload"]["kind"], said["workload"]["duration"], said["devices"][0]["memory"]) == (
        "poisson", "1m", "16384Mi",
    )  # fmt: skip
    assert said["policies"][1]["keepAliveTtl"] == "1500ms"


def test_all_lists_are_gone_through(tmp_path: Path) -> None:
    lists = "loads: [0.5, 0.9]\nsloFactors: [2]\nmemories: [8Gi, 16Gi]\nseeds: 3\nfirstSeed: 7\n"
    scenario = read_scenario(written(tmp_path, GOOD + lists))
    assert [setting.label for setting in settings_of(scenario)] == [
        "load 0.5, SLO x2, 8 GiB",
        "load 0.5, SLO x2, 16 GiB",
        "load 0.9, SLO x2, 8 GiB",
        "load 0.9, SLO x2, 16 GiB",
    ]
    assert seeds_of(scenario) == (7, 8, 9)


def test_devices_are_made_of_their_choices_and_gpus_take_another_memory(tmp_path: Path) -> None:
    text = GOOD.replace("count: 2}", "count: 2, slots: 3, node: n}\n  - {cores: 8}\n  - {product: L4, memory: 24Gi}")
    scenario = read_scenario(written(tmp_path, text))
    devices = devices_of(scenario)
    assert [device.id for device in devices] == ["gpu-0", "gpu-1", "cpu-0", "gpu-2"]
    assert [device.memory_mib for device in devices if device.kind is DeviceKind.GPU] == [16_384, 16_384, 24_576]
    assert (devices[0].slots, devices[0].node, devices[2].millicores) == (3, "n", 8000)
    assert [d.memory_mib for d in devices_of(scenario, 1024) if d.kind is DeviceKind.GPU] == [1024] * 3


def test_a_policy_sets_what_it_names_and_is_called_after_it(tmp_path: Path) -> None:
    policy = (
        "{queueing: edf, serveLate: false, eviction: lru, allocation: greedy-dual, preWarm: Cron, keepAlive: FixedTTL, "
        "keepAliveTtl: 90s, admission: Observe, deviceChoice: speed-up, scaling: Concurrency}"
    )
    scenario = read_scenario(
        written(tmp_path, GOOD.replace("edf", policy) + "form: replicas\nworld: kubernetes-shared\n")
    )
    choice = scenario.choices[1]
    assert choice.label == (
        "edf as published lru greedy-dual pre-warm Cron FixedTTL ttl 90 s Observe speed-up scaled by Concurrency"
    )
    setup = setup_of(scenario, choice, devices_of(scenario), 5)
    assert (setup.queueing, setup.serve_late, setup.seed, setup.form) == ("edf", False, 5, Form.REPLICAS)
    assert (setup.plan.pre_warm, setup.admission) == (PreWarmPolicy.CRON, AdmissionMode.OBSERVE)
    assert setup.plan.scaling is ScalingPolicy.CONCURRENCY
    assert (setup.device_choice, setup_of(scenario, scenario.choices[0], devices_of(scenario), 5).device_choice) == (
        "speed-up",
        "slack",
    )
    assert setup.delays == KUBERNETES_SHARED
    kept = with_keep_alive(made(scenario_text=GOOD, folder=tmp_path), choice).functions[0].definition.spec.scaling
    assert (kept.keep_alive, kept.keep_alive_ttl_us) == (KeepAlivePolicy.FIXED_TTL, 90_000_000)


def made(scenario_text: str, folder: Path, seed: int = 0, load: float | None = None) -> Workload:
    scenario = read_scenario(written(folder, scenario_text))
    return make(scenario.sources, devices_of(scenario), folder, seed, load)


def test_a_load_scales_the_rates_of_generators_and_the_time_of_traces(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path, GOOD))
    devices = devices_of(scenario)
    generated = make(scenario.sources, devices, tmp_path, 3, 0.8)
    assert load_of(generated, devices) == pytest.approx(0.8, rel=0.05)
    assert generated.horizon_us == 60_000_000
    (tmp_path / "t.csv").write_text(TRACE)
    trace = read_scenario(
        written(tmp_path, GOOD.replace(GOOD[: GOOD.index("devices")], "workload: {kind: csv, file: t.csv}\n"))
    )
    compressed = make(trace.sources, devices, tmp_path, 0, 0.8)
    assert load_of(compressed, devices) == pytest.approx(0.8, rel=1e-3)
    assert len(compressed) == 4
    assert compressed.horizon_us < 10_000_001


TRACE = "arrival_s,function,tenant,exec_ms\n0,f,a,500\n1,g,a,500\n2,f,a,500\n10,g,a,500\n"


def test_the_first_seed_of_a_recorded_trace_is_as_recorded_and_others_are_turned_around(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TRACE)
    text = "workload: {kind: csv, file: t.csv, start: 2s, sloFactor: 3}\ndevices: [{product: X, memory: 8Gi}]\n"
    first, second = (made(text, tmp_path, seed) for seed in (0, 1))
    assert first.time_us.tolist() == [0, 1_000_000, 2_000_000, 10_000_000]
    assert second.time_us.tolist() != first.time_us.tolist()
    gaps = [
        int(work.time_us[work.function == 0].tolist()[1] - work.time_us[work.function == 0].tolist()[0])
        for work in (first, second)
    ]
    assert gaps[1] in (gaps[0], first.horizon_us - gaps[0])
    function = first.functions[0]
    assert (function.behaviour.cold_us, function.definition.spec.slo.latency_us) == (2_000_000, 1_500_000)
    assert function.definition.spec.gpu[0].memory_mib == 8192
    assert any("turned around" in note for note in second.notes)


def test_several_sources_are_there_at_the_same_time(tmp_path: Path) -> None:
    text = (
        "workload:\n"
        "  - {kind: periodic, name: camera, functions: 2, period: [100ms], duration: 10s, sharing: Shared}\n"
        "  - {kind: closed-loops, name: batch, functions: 1, clients: 3, duration: 10s, priority: Batch}\n"
        "  - {kind: bursts, name: web, functions: 3, tenants: 3, duration: 10s}\n"
        "devices: [{product: A100, memory: 8Gi}]\n"
    )
    work = made(text, tmp_path)
    assert work.keys[:3] == ("camera-0/f-0", "camera-0/f-1", "batch-0/f-0")
    assert work.keys[3:] == ("web-0/f-0", "web-1/f-1", "web-2/f-2")
    assert (work.closed[0].function, work.closed[0].clients) == (2, 3)
    assert work.functions[2].definition.spec.priority is Priority.BATCH
    assert work.functions[0].definition.spec.gpu[0].sharing is Sharing.SHARED


@pytest.mark.parametrize(
    "source",
    [
        "{kind: azure-functions, beginMinute: 480, endMinute: 481, mapped: {products: [A100, T4]}}",
        "{kind: azure-functions, beginMinute: 480, endMinute: 481, mapped: {profiles: nexus, products: [TitanX]}}",
        "{kind: azure-llm, service: code, functions: 3, batch: 8}",
        "{kind: mooncake, start: 9s}",
        "{kind: servegen, model: mm-image, end: 10m, rate: 0.1}",
        "{kind: philly, exec: 30s, memory: 4Gi}",
        "{kind: disb, server: triton}",
        "{kind: kaas, app: bert, tenants: 3}",
    ],
)
def test_the_projects_own_traces_are_sources(tmp_path: Path, source: str) -> None:
    work = made(f"workload: {source}\ndevices: [{{product: A100, memory: 80Gi}}]\n", tmp_path, 1)
    assert len(work) or work.closed
    assert work.notes


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{kind: kaas, app: chess}", "the benchmark has no chess in the mode kaas; there are"),
        ("{kind: azure-functions, endMinute: 490, mapped: {products: [B200]}}", "no profile is measured on B200"),
        ("{kind: csv, file: absent.csv}", "absent.csv: there is no such file"),
    ],
)
def test_what_a_source_cannot_give_is_one_sentence(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(StokerError, match=told):
        made(f"workload: {source}\ndevices: [{{product: A100, memory: 80Gi}}]\n", tmp_path)


def test_clients_in_closed_loops_have_no_load(tmp_path: Path) -> None:
    text = "workload: {kind: closed-loops}\ndevices: [{product: A100, memory: 80Gi}]\n"
    with pytest.raises(StokerError, match="only arrivals have a load"):
        made(text, tmp_path, load=0.5)


def test_reports_say_what_is_assumed_of_the_world(tmp_path: Path) -> None:
    said = {
        form: " ".join(assumptions(read_scenario(written(tmp_path, f"{GOOD}form: {form}\nloadPlan: 1s\n"))))
        for form in ("static", "late-binding", "replicas")
    }
    assert "memory is not looked at" in said["static"]
    assert "over a bus of 12000 MiB/s" in said["late-binding"]
    assert "probes every 50 ms" in said["replicas"]
    assert "planned every 1 s" in said["replicas"]
    slowed = read_scenario(written(tmp_path, GOOD + "slowdowns: v100\n"))
    assert any("Gavel" in sentence for sentence in assumptions(slowed))


def test_the_reference_names_every_field_kind_and_figure() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/simulation.md").read_text()
    forms = (Scenario, DeviceChoice, PolicyChoice, MemoryChoice, Mapped, *get_args(AnySource))
    words = {field.encode_name for form in forms for field in msgspec.structs.fields(form)}
    words |= {str(source.__struct_config__.tag) for source in get_args(AnySource)}
    assert sorted(word for word in words if not re.search(rf"[`{{ ]{word}[`,}}]", page)) == []
    rows = [
        f"| `{spec.name}` | {spec.unit or '-'} | {spec.better.value or '-'} | {spec.meaning} |" for spec in SUMMARISED
    ]
    viewed = tuple(suffix for suffix in SUFFIX.values() if suffix)
    assert [
        row for row, spec in zip(rows, SUMMARISED, strict=True) if not spec.name.endswith(viewed) and row not in page
    ] == []


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "examples/sim").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_examples_are_scenarios(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.name == path.stem
    assert len(scenario.choices) > 1
