"""Programs are built once, appear whole or not at all, and other pins never meet old programs."""

import threading
from pathlib import Path

import msgspec
import pytest

from cluster import binaries, groups, toolchain
from cluster.groups import GROUPS, Group, group_of

pytestmark = pytest.mark.unit

FAKE_GO = """#!/bin/sh
case "$1" in
env) echo go1.99.0 ;;
build)
    while [ "$1" != -o ]; do shift; done
    echo "$3" >> "$GO_CALLS"
    [ -z "$GO_FAILS" ] || { echo "undefined: everything" >&2; exit 1; }
    printf half >"$2"; sleep 0.1; printf whole >"$2" ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` on PATH that notes what it is asked to build."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "go").write_text(FAKE_GO)
    (tools / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GO_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("GO_FAILS", "")
    (tmp_path / "calls").touch()
    return tmp_path / "calls"


def silent(_: str) -> None:
    return


def test_only_what_is_missing_is_built_and_only_once(calls: Path) -> None:
    assert not binaries.available(["etcd", "kubectl"])
    binaries.ensure(["kubectl", "etcd"], silent)
    assert binaries.available(["etcd", "kubectl"])
    binaries.ensure(["etcd", "kubectl", "helm"], silent)
    built = calls.read_text().split()
    assert sorted(built) == sorted([*(group_of(name).packages[name] for name in ("etcd", "kubectl", "helm"))])


def test_two_at_once_build_each_program_once(calls: Path) -> None:
    both = [threading.Thread(target=binaries.ensure, args=(["etcd", "helm"], silent)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(calls.read_text().split()) == 2
    assert binaries.binary("etcd").read_text() == "whole"


@pytest.mark.usefixtures("calls")
def test_a_build_that_was_killed_leaves_nothing_that_counts_as_a_program() -> None:
    place = binaries.binary("etcd")
    place.parent.mkdir(parents=True)
    (place.parent / ".etcd.partial").write_text("half")
    assert not binaries.available(["etcd"])
    binaries.ensure(["etcd"], silent)
    assert place.read_text() == "whole"
    assert [path.name for path in place.parent.iterdir()] == ["etcd"]


@pytest.mark.usefixtures("calls")
def test_a_failed_build_names_the_program_the_reason_and_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GO_FAILS", "1")
    with pytest.raises(binaries.BuildError, match=r"building helm failed \(undefined: everything\).*helm\.log"):
        binaries.ensure(["helm"], silent)
    assert not binaries.available(["helm"])


def test_other_flags_or_pins_mean_another_folder() -> None:
    group = group_of("etcd")
    tagged = msgspec.structs.replace(group, tags="other")
    assert binaries.group_directory(group) == binaries.group_directory(group)
    assert len({binaries.group_directory(each) for each in (group, tagged, *GROUPS)}) == len(GROUPS) + 1


def test_a_program_that_no_group_has_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known are: kube-apiserver"):
        binaries.binary("dockerd")


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_the_pins_of_every_group_name_its_packages_and_no_address(group: Group) -> None:
    pins = (group.pins / "go.mod").read_text()
    assert toolchain.wanted_version(pins) >= (1, 26)
    assert all(package in pins for package in group.packages.values())
    assert "://" not in pins
    assert (group.pins / "go.sum").stat().st_size > 0


def test_what_the_cluster_needs_can_be_built() -> None:
    assert all(group_of(name) for name in groups.WHOLE_CLUSTER)
    assert groups.KUBERNETES_VERSION in (group_of("kubectl").pins / "go.mod").read_text()
    assert groups.COREDNS_VERSION in (group_of("coredns").pins / "go.mod").read_text()


def test_without_any_go_the_sentence_says_which_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(toolchain.ToolchainError, match=r"needs Go 1\.26\.7 or newer on PATH, and fetching"):
        toolchain.go_command((1, 26, 7), tmp_path)
    assert list(tmp_path.iterdir()) == []
