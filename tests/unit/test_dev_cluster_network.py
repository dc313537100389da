"""A cluster never takes away another's network, also when its own record was lost."""

from pathlib import Path

import pytest

from cluster import network
from cluster.layout import Layout

pytestmark = pytest.mark.unit

MINE = Layout("side", Path("/state/side"))


class Kernel:
    """Stands for `ip`: one bridge of the layout's name with an owner, and what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, alias: str | None) -> None:
        self.commands: list[str] = []
        self._answer = '[{"ifname": "stoker0"}]' if alias == "" else f'[{{"ifalias": "{alias}"}}]'
        monkeypatch.setattr(network, "exists", lambda name: alias is not None and name == MINE.bridge)
        monkeypatch.setattr(network, "run", self.run)

    def run(self, *command: str) -> str:
        self.commands.append(" ".join(command))
        return self._answer if "-json" in command else ""

    @property
    def changes(self) -> list[str]:
        return [command for command in self.commands if "show" not in command]


def test_its_own_bridge_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, "/state/side")
    network.remove_bridge(MINE)
    assert kernel.changes == ["ip link delete stoker0"]


def test_another_clusters_bridge_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, "/state/default")
    network.remove_bridge(MINE)
    assert kernel.changes == []


def test_a_bridge_whose_maker_was_killed_before_it_said_whose_it_is_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, "")
    network.remove_bridge(MINE)
    assert kernel.changes == ["ip link delete stoker0"]


def test_nothing_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, None)
    network.remove_bridge(MINE)
    assert kernel.changes == []


def test_an_index_that_another_cluster_has_is_refused_before_anything_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, "/state/default")
    with pytest.raises(network.NetworkError, match="belongs to /state/default; choose another --index than 0"):
        network.create_bridge(MINE)
    assert kernel.changes == []
