"""The container launcher when the engine is missing, down, slow or garbled: a scripted engine, the real keeper."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from launcher_benches import replica, until
from planning_world import gpus, make_function

from stoker.model.function import ContainerSpec
from stoker.reasons import Reason
from stoker_cli.containers.choosing import ChoosingLauncher
from stoker_cli.containers.engine import EngineUnavailable
from stoker_cli.containers.launcher import ContainerLauncher
from stoker_cli.launching import LauncherName
from stoker_cli.processes.launcher import ExitInfo
from stoker_cli.processes.replica_command import LaunchFailed, LaunchGivenUp

pytestmark = [pytest.mark.contract, pytest.mark.timeout(30)]

ENGINE = r"""#!/bin/sh
cd "$FAKE" || exit 1
echo "$*" >> calls
down() { [ -e down ] && { echo "Error: cannot connect to the service." >&2; exit 125; }; }
case "$1" in
  --version) echo "podman version 9.9" ;;
  ps) down; exit 0 ;;
  create) down; [ -e image ] || { echo "Error: app: image not known" >&2; exit 125; } ;;
  image) [ -e image ] ;;
  pull) echo $$ >> pulls; exec sleep 600 ;;
  start) touch running; while [ -e running ]; do sleep 0.05; done ;;
  container)
    down
    [ -e garbled ] && { echo "{"; exit 0; }
    [ -e running ] || { echo "Error: no such container" >&2; exit 125; }
    cat inspected ;;
  rm | kill) down; rm -f running ;;
esac
"""
INSPECTED = """
[{"State": {"Status": "running", "Pid": 1}, "NetworkSettings": {"Ports": {"8080/tcp": [{"HostPort": "4321"}]}}}]
"""
FUNCTION = make_function(container=ContainerSpec(image="app"))


def clock_us() -> int:
    return time.monotonic_ns() // 1000


class Scripted:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exits: dict[str, ExitInfo] = {}
        program = folder / "podman"
        program.write_text(ENGINE)
        program.chmod(0o755)
        (folder / "inspected").write_text(INSPECTED)
        environ = {**os.environ, "FAKE": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"}
        self.launcher = ContainerLauncher(
            folder / "logs", ["podman"], clock_us=clock_us, on_exit=self.exits.__setitem__, environ=environ
        )

    def has(self, *facts: str) -> None:
        for fact in facts:
            (self.folder / fact).touch()

    def lacks(self, fact: str) -> None:
        (self.folder / fact).unlink()

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def launch(self, ordinal: int = 0) -> "asyncio.Task[int]":
        return asyncio.ensure_future(self.launcher.launch(replica(ordinal), FUNCTION, gpus()))


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[Scripted]:
    made = Scripted(tmp_path)
    yield made
    (tmp_path / "down").unlink(missing_ok=True)
    await made.launcher.stop()


def alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_an_engine_that_is_not_installed_is_one_sentence(tmp_path: Path) -> None:
    launcher = ContainerLauncher(tmp_path, ["podman", "docker"], clock_us=clock_us, environ={"PATH": str(tmp_path)})
    with pytest.raises(EngineUnavailable) as failed:
        await launcher.start()
    assert str(failed.value) == (
        "there is no program podman on PATH; install it; there is no program docker on PATH; install it"
    )
    await launcher.stop()


async def test_the_engine_that_was_asked_for_is_missed_at_the_start_and_in_auto_at_the_first_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = ChoosingLauncher(LauncherName.DOCKER, tmp_path, clock_us)
    with pytest.raises(
        EngineUnavailable, match=r"^--launcher docker: there is no program docker on PATH; install it\.$"
    ):
        await asked.start()
    await asked.stop()
    auto = ChoosingLauncher(LauncherName.AUTO, tmp_path, clock_us)
    await auto.start()
    with pytest.raises(LaunchFailed, match="its image needs podman or docker: there is no program podman"):
        await auto.launch(replica(), FUNCTION, gpus())
    await auto.stop()


async def test_an_engine_that_does_not_answer_is_asked_again_at_the_next_start(scripted: Scripted) -> None:
    scripted.has("down", "image")
    with pytest.raises(
        LaunchFailed, match=r"podman does not answer \(cannot connect to the service\); see: podman info"
    ):
        await scripted.launch()
    scripted.lacks("down")
    assert await scripted.launch() == 4321


async def test_a_pull_is_shared_told_and_ends_with_the_last_one_that_gives_up(scripted: Scripted) -> None:
    first, second = scripted.launch(0), scripted.launch(1)
    identities = [replica(n).id for n in (0, 1)]
    await until(
        lambda: (
            [note.reason for note in scripted.launcher.notes().values()] == [Reason.PULLING_IMAGE] * 2
            and scripted.lines("pulls")
        )
    )
    scripted.launcher.give_up(identities[0])
    with pytest.raises(LaunchGivenUp):
        await first
    (pid,) = scripted.lines("pulls")
    assert alive(pid)
    scripted.launcher.give_up(identities[1])
    with pytest.raises(LaunchGivenUp):
        await second
    await until(lambda: not alive(pid))
    assert scripted.launcher.notes() == {}
    assert scripted.exits == {}
    third = scripted.launch(0)
    await until(lambda: len(scripted.lines("pulls")) == 2)
    await scripted.launcher.stop()
    with pytest.raises(LaunchFailed, match="stopped"):
        await third
    await until(lambda: not alive(scripted.lines("pulls")[1]))


async def test_garbled_answers_are_asked_again(scripted: Scripted) -> None:
    scripted.has("image", "garbled")
    launch = scripted.launch()
    await until(lambda: sum("inspect" in line for line in scripted.lines("calls")) >= 2)
    scripted.lacks("garbled")
    assert await launch == 4321


async def test_an_end_is_reported_only_when_the_engine_says_that_the_container_is_gone(scripted: Scripted) -> None:
    scripted.has("image")
    await scripted.launch()
    scripted.has("down")
    scripted.lacks("running")
    before = len(scripted.lines("calls"))
    await until(lambda: len(scripted.lines("calls")) > before)
    assert scripted.exits == {}
    scripted.lacks("down")
    await until(lambda: replica().id in scripted.exits)


async def test_terminate_that_cannot_be_carried_out_raises_and_can_be_asked_again(scripted: Scripted) -> None:
    scripted.has("image")
    await scripted.launch()
    scripted.has("down")
    with pytest.raises(EngineUnavailable, match="podman does not answer"):
        await scripted.launcher.terminate(replica().id, 0)
    scripted.lacks("down")
    await scripted.launcher.terminate(replica().id, 0)
    assert replica().id in scripted.exits
