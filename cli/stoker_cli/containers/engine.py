"""One container engine by its command line: is it there, and the calls that a launcher makes, as values or sentences.

podman and docker take the same words; where they differ, Dialect says so. Knows containers and images, and nothing of
functions. A container that is not there is an answer (None), an engine that does not answer is EngineUnavailable.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from stoker.errors import StokerError
from stoker_cli.containers.container_command import Dialect
from stoker_cli.containers.keeper_link import Answer, KeeperLink, KeeperLost
from stoker_cli.containers.ownership import Ownership

PULL_S = 3600.0
"""A pull that takes longer hangs: 60 GiB at 17 MiB/s."""
FIX = {
    Dialect.PODMAN: "see: podman info",
    Dialect.DOCKER: "start its daemon, or let this user reach it; see: docker info",
}

log = structlog.get_logger(__name__)


class EngineUnavailable(StokerError):  # noqa: N818  the name states the fact
    """The engine is not there or does not answer; the text says which and how to fix it."""


class EngineRefused(StokerError):  # noqa: N818  the name states the fact
    """The engine answered that it would not do it; the text is what it said."""


class ContainerState(Struct, frozen=True, kw_only=True):
    """How a container stands."""

    status: str
    pid: int
    """0 where it does not run; in the engine's process namespace."""
    exit_code: int
    out_of_memory: bool
    error: str
    port: int | None
    """Published port on 127.0.0.1, where there is one now."""

    @property
    def is_running(self) -> bool:
        return self.status in ("running", "paused", "stopping")

    @property
    def never_ran(self) -> bool:
        return self.status in ("created", "configured", "initialized")


class _State(Struct, rename="pascal"):
    status: str = ""
    pid: int = 0
    exit_code: int = 0
    o_o_m_killed: bool = msgspec.field(default=False, name="OOMKilled")
    error: str = ""


class _Binding(Struct, rename="pascal"):
    host_port: str = ""


class _Network(Struct, rename="pascal"):
    ports: dict[str, list[_Binding] | None] | None = None


class _Inspected(Struct, rename="pascal"):
    state: _State
    network_settings: _Network | None = None


class Engine:
    """An engine that has answered once. Make one with open_engine()."""

    def __init__(self, program: str, dialect: Dialect, link: KeeperLink) -> None:
        self.program = program
        self.dialect = dialect
        self._link = link

    async def create(self, argv: Sequence[str]) -> None:
        """Make a container; EngineRefused says why it could not be made."""
        await self._must(*argv)

    async def has_image(self, image: str) -> bool:
        return (await self._call("image", "inspect", "--format", "{{.Id}}", "--", image)).code == 0

    async def pull(self, image: str) -> None:
        """Fetch an image. Cancelled: the pull ends."""
        try:
            async with asyncio.timeout(PULL_S):
                answer = await self._call("pull", "--quiet", "--", image, timeout_s=None)
        except TimeoutError as error:
            raise EngineRefused(f"it was not there after {PULL_S / 60:g} min") from error
        if answer.code != 0:
            raise EngineRefused(answer.sentence)

    async def copy_in(self, name: str, archive: bytes) -> None:
        """Unpack a tar in a container that was made and not started."""
        await self._must("cp", "-", f"{name}:/", given=archive)

    async def follow(self, name: str, log_path: Path) -> Answer:
        """Start a container and take its output until it ends. Raises KeeperLost."""
        return await self._link.call("start", "--attach", name, timeout_s=None, log_path=log_path)

    async def state(self, name: str, port: int) -> ContainerState | None:
        """How a container stands; None where there is none of that name."""
        answer = await self._call("container", "inspect", name)
        if answer.code != 0:
            if answer.code is not None and "no such container" in answer.err.lower():
                return None
            raise EngineUnavailable(_does_not_answer(self.program, self.dialect, answer))
        try:
            (found,) = msgspec.json.decode(answer.out, type=list[_Inspected])
        except (msgspec.DecodeError, ValueError) as error:
            raise EngineUnavailable(f"{self.program} container inspect gave what cannot be read: {error}") from error
        network = found.network_settings or _Network()
        bindings = (network.ports or {}).get(f"{port}/tcp") or []
        published = next((int(item.host_port) for item in bindings if item.host_port.isdigit()), None)
        return ContainerState(
            status=found.state.status,
            pid=found.state.pid,
            exit_code=found.state.exit_code,
            out_of_memory=found.state.o_o_m_killed,
            error=found.state.error,
            port=published or None,
        )

    async def stop(self, name: str, grace_s: int) -> bool:
        """SIGTERM (or what the image names), SIGKILL after the grace. Returns after its end; whether it was done."""
        return (await self._call("stop", "-t", str(grace_s), name, timeout_s=grace_s + 60.0)).code == 0

    async def kill(self, name: str) -> bool:
        """SIGKILL; whether it was sent."""
        return (await self._call("kill", "--signal", "KILL", name)).code == 0

    async def remove(self, *names: str) -> None:
        """Ended and gone, with its anonymous volumes. EngineUnavailable where it may still be there."""
        answer = await self._call("rm", "-f", "-v", *names)
        if answer.code != 0 and "no such container" not in answer.err.lower():
            raise EngineUnavailable(_does_not_answer(self.program, self.dialect, answer))

    async def sweep(self, owner: Ownership) -> None:
        """Remove the containers of this user's serves that were killed together with their keeper."""
        answer = await self._call("ps", "-a", "--filter", owner.comparable, "--format", "{{.Names}}")
        if answer.code != 0:
            raise EngineUnavailable(_does_not_answer(self.program, self.dialect, answer))
        orphans = [name for name in answer.out.split() if owner.orphaned(name)]
        if orphans:
            log.info("orphaned_containers_removed", engine=self.program, containers=orphans)
            # Another serve that starts now may be at it too; what stays is the next start's.
            with contextlib.suppress(EngineUnavailable):
                await self.remove(*orphans)

    async def stop_all(self, within_s: float) -> None:
        """Remove every container of this serve and end; nothing can be called afterwards."""
        await self._link.stop(within_s)

    async def _must(self, *argv: str, given: bytes = b"") -> None:
        answer = await self._call(*argv, given=given)
        if answer.code is None:
            raise EngineUnavailable(_does_not_answer(self.program, self.dialect, answer))
        if answer.code != 0:
            raise EngineRefused(answer.sentence)

    async def _call(self, *argv: str, timeout_s: float | None = 60.0, given: bytes = b"") -> Answer:
        try:
            return await self._link.call(*argv, timeout_s=timeout_s, given=given)
        except KeeperLost as error:
            raise EngineUnavailable(f"{self.program} could not be asked: {error}") from error


async def open_engine(program: str, owner: Ownership, environ: Mapping[str, str]) -> Engine:
    """The engine of that program name, asked once and cleared of orphans. EngineUnavailable says what is missing."""
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None:
        raise EngineUnavailable(f"there is no program {program} on PATH; install it")
    link = KeeperLink(path, owner.mine, environ)
    try:
        version = await link.call("--version")
        # podman-docker installs podman under docker's name.
        dialect = Dialect.PODMAN if version.out.startswith("podman") else Dialect.DOCKER
        engine = Engine(program, dialect, link)
        await engine.sweep(owner)
    except (KeeperLost, EngineUnavailable) as error:
        await link.discard()
        raise EngineUnavailable(str(error)) from error
    return engine


def _does_not_answer(program: str, dialect: Dialect, answer: Answer) -> str:
    return f"{program} does not answer ({answer.sentence}); {FIX[dialect]}"
