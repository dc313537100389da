"""The simulated GPUs' state file, the words that change it, what a node begins with, and what the plugin prefers."""

import json
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from gpus.changes import apply, nvml_name, parse_memory
from gpus.initial import DEFAULTS, initial, settle, words_for
from gpus.preferred import device_ids, preferred
from gpus.state import BrokenState, NodeState, change, gpu_uuid, parse, read, render, with_event, write

pytestmark = pytest.mark.unit


def node(*words: str, name: str = "node-a") -> NodeState:
    return apply(initial(name, DEFAULTS), words)


def test_what_is_written_is_read_again() -> None:
    state = node(
        "gpus=3", "shares=4", "strategy=mps", "prefer=order", "order=1,0", "0.processes=12:300,9:-", "1.health=lost",
        "2.name=NVIDIA L4", "2.memory=23034Mi", "2.reserved-mib=450", "*.unsupported=nvmlX", "1.plugin=healthy",
        "mig-strategy=mixed", "1.mig=1g.5gb:4864,2g.10gb+me:9856:12", "0.mig-mode=1",
    )  # fmt: skip
    state = with_event(with_event(state, state.gpus[0].uuid, 79), state.gpus[1].uuid, 31)
    assert parse(render(state)) == state
    assert [event.number for event in state.events] == [1, 2]


def test_uuids_are_the_same_after_a_restart_and_differ_between_nodes() -> None:
    assert [gpu.uuid for gpu in node().gpus] == [gpu_uuid("node-a", 0), gpu_uuid("node-a", 1)]
    assert gpu_uuid("node-a", 0) == "GPU-547ebbac-a446-5033-9459-7531b54ddb80"
    assert len({gpu_uuid(f"node-{a}", index) for a in "abc" for index in range(3)}) == 9
    shrunk = apply(node("gpus=4"), ["gpus=1", "gpus=3"])
    assert [gpu.uuid for gpu in shrunk.gpus] == [gpu_uuid("node-a", index) for index in range(3)]


@pytest.mark.parametrize(
    "words",
    [
        ["shares=0"], ["shares=65"], ["shares=x"], ["gpus=65"], ["gpus=-1"], ["gpus"], ["colour=red"], ["0.colour=red"],
        ["2.ecc=1"], ["-1.ecc=1"], ["x.ecc=1"], ["0.uuid=GPU-x"], ["0.ecc=-1"], ["0.ecc=1e3"], ["0.health=sick"],
        ["0.plugin=sick"], ["prefer=best"], ["strategy=mig"], ["allocate=maybe"], ["memory=40"], ["memory=0Gi"],
        ["memory=-1Gi"], ["0.memory=40GB"], ["0.processes=1"], ["0.processes=a:1"], ["0.processes=1:a"], ["0.name="],
        ["mig-strategy=none"], ["0.mig=1g.5gb"], ["0.mig=1g.5gb:x"], ["0.mig=a:1:2:3"], ["0.mig=:1"], ["0.mig=a b:1"],
        ["0.mig=" + ",".join(["1g.5gb:1"] * 8)], ["0.name=a\nb"], ["0.reserved-mib=40961"],
        ["order=a"], ["0.name=" + "x" * 96], ["0.used-mib=9999999999999"],
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_changes_nothing(words: list[str], tmp_path: Path) -> None:
    write(tmp_path, node())
    with pytest.raises(BrokenState):
        change(tmp_path, lambda state: apply(state, ["0.ecc=7", *words]))
    assert read(tmp_path) == node()


def test_a_state_file_that_is_not_whole_is_refused_by_name(tmp_path: Path) -> None:
    text = render(node("0.processes=1:2"))
    for length in range(len(text) - 1):
        if text[:length].rstrip().endswith("\nend"):
            continue
        with pytest.raises(BrokenState):
            parse(text[:length])
    for bad in ("  colour red", "gpu " + gpu_uuid("node-a", 0), "event 1 x", "  process 3", "shares 2"):
        with pytest.raises(BrokenState):
            parse(text.replace("\nend", f"\n{bad}\nend"))
    with pytest.raises(BrokenState, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "gpus.state").write_bytes(b"\xff\xfe")
    with pytest.raises(BrokenState, match="cannot be read"):
        read(tmp_path)


def test_changes_made_at_once_all_count(tmp_path: Path) -> None:
    write(tmp_path, node("gpus=8"))
    threads = [
        Thread(target=change, args=(tmp_path, lambda state, index=index: apply(state, [f"{index}.used-mib=7"])))
        for index in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [gpu.used_mib for gpu in read(tmp_path).gpus] == [7] * 8


def test_quantities_and_names_are_kubernetes_and_nvml_s() -> None:
    assert [parse_memory(text) for text in ("40Gi", "81559Mi", "1Ti")] == [40960, 81559, 1 << 20]
    assert nvml_name("NVIDIA-A100-SXM4-40GB") == nvml_name("NVIDIA A100-SXM4-40GB") == "NVIDIA A100-SXM4-40GB"
    assert nvml_name("NVIDIA-L4") == "NVIDIA L4"


def test_each_node_of_the_file_gets_its_own_gpus(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(json.dumps({"a": {"gpus": 1, "shares": 4}, "b": {"gpus": 0}, "*": {"memory": "24Gi"}}))
    made = {name: initial(name, words_for(name, {"product": "NVIDIA-L4"}, path)) for name in "abc"}
    assert [(len(state.gpus), state.shares) for state in made.values()] == [(1, 4), (0, 1), (2, 1)]
    assert made["c"].gpus[0].memory_mib == 24576
    assert made["a"].gpus[0].name == "NVIDIA L4"
    for bad in ("", "[]", '{"a": 3}', '{"a": {"colour": 1}}'):
        path.write_text(bad)
        with pytest.raises(BrokenState, match=r"nodes\.json"):
            words_for("a", {}, path)
    with pytest.raises(BrokenState, match=r"nodes\.json"):
        words_for("a", {}, tmp_path / "nodes.json.gone")


def test_a_restart_keeps_changes_and_other_words_begin_anew(tmp_path: Path) -> None:
    first = settle(tmp_path, node())
    uuid = first.gpus[0].uuid
    changed = change(tmp_path, lambda state: with_event(apply(state, ["0.ecc=2"]), uuid, 62))
    assert settle(tmp_path, node()) == changed
    other = settle(tmp_path, initial("node-a", {**DEFAULTS, "gpus": "1"}))
    assert [gpu.ecc for gpu in other.gpus] == [0]
    assert other.events == changed.events
    (tmp_path / "gpus.state").write_text("garbage")
    assert settle(tmp_path, node()) == first == read(tmp_path)


def test_shares_are_ids_of_their_own() -> None:
    one = gpu_uuid("node-a", 0)
    assert device_ids(node("gpus=1")) == [one]
    assert device_ids(node("gpus=1", "shares=3")) == [f"{one}::0", f"{one}::1", f"{one}::2"]
    assert device_ids(node("gpus=0", "shares=3")) == []


def test_mig_instances_are_devices_of_the_resource_that_the_strategy_says() -> None:
    cut = ["0.mig=1g.5gb:4864,1g.5gb:4864,2g.10gb+me:9856"]
    state = node(*cut)
    small, other, large = (one.uuid for one in state.gpus[0].mig)
    whole = gpu_uuid("node-a", 1)
    assert device_ids(state) == device_ids(state, "nvidia.com/gpu") == [small, other, large, whole]
    assert len({small, other, large, whole}) == 4
    mixed = node(*cut, "mig-strategy=mixed", "shares=2")
    assert device_ids(mixed, "nvidia.com/mig-1g.5gb") == [f"{one}::{n}" for one in (small, other) for n in (0, 1)]
    assert device_ids(mixed, "nvidia.com/mig-2g.10gb.me") == [f"{large}::0", f"{large}::1"]
    assert device_ids(mixed, "nvidia.com/gpu") == [f"{whole}::0", f"{whole}::1"]
    assert device_ids(node(*cut, "0.mig=")) == [whole]
    assert device_ids(node(*cut, "0.mig-mode=0")) == [gpu_uuid("node-a", 0), whole]
    assert preferred(node(*cut, "prefer=smallest"), [whole, large, other], [], 2) == [other, large]


def picked(state: NodeState, count: int, *taken: str, must: tuple[str, ...] = ()) -> list[str]:
    """`0::1` for share 1 of GPU 0."""
    short = {gpu.uuid: str(index) for index, gpu in enumerate(state.gpus)}
    ids = {one.replace(card, index) for card, index in short.items() for one in device_ids(state) if card in one}
    long = {index: card for card, index in short.items()}

    def full(one: str) -> str:
        return one.replace(one[0], long[one[0]], 1)

    chosen = preferred(state, [full(one) for one in sorted(ids - set(taken))], [full(one) for one in must], count)
    return [one.replace(one.partition("::")[0], short[one.partition("::")[0]]) for one in chosen]


@pytest.mark.parametrize(
    ("words", "count", "taken", "chosen"),
    [
        (["prefer=spread"], 2, [], ["0::0", "1::0"]),
        (["prefer=spread"], 1, ["0::0"], ["1::0"]),
        (["prefer=packed"], 1, ["1::0"], ["1::1"]),
        (["prefer=packed"], 3, [], ["0::0", "0::1", "1::0"]),
        (["prefer=smallest", "1.memory=8Gi"], 1, [], ["1::0"]),
        (["prefer=largest", "0.memory=8Gi"], 1, [], ["1::0"]),
        (["prefer=fullest", "1.used-mib=39000"], 1, [], ["1::0"]),
        (["prefer=fullest", "1.used-mib=39000"], 3, ["1::0"], ["1::1", "0::0", "0::1"]),
        (["prefer=order", "order=1,0"], 3, [], ["1::0", "1::1", "0::0"]),
        (["prefer=order", "order=7"], 1, [], ["0::0"]),
        (["prefer=order"], 1, [], ["0::0"]),
    ],
)
def test_the_preference_decides_which_card_is_given_away(
    words: list[str], count: int, taken: list[str], chosen: list[str]
) -> None:
    assert picked(node("shares=2", *words), count, *taken) == chosen


def test_a_preference_keeps_what_must_be_in_and_ignores_what_it_does_not_know() -> None:
    state = node("shares=2", "prefer=order", "order=0,1")
    assert picked(state, 2, must=("1::1",)) == ["1::1", "0::0"]
    assert preferred(state, ["GPU-other"], ["GPU-other"], 1) == []
    assert preferred(replace(state, gpus=()), [], [], 1) == []
