"""The container launcher: replicas as containers of one engine, behind the same methods as the process launcher.

launch: create (pull the image first where it is not there) -> start with its output attached -> the published port.
A container is removed by us after its end, and not by the engine (`--rm`): only before that does the engine tell
whether memory ended it. That nothing is left when Stoker is killed is the keeper's part (stoker_cli.containers.keeper).
"""

import asyncio
import contextlib
import math
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog
from msgspec import Struct

from stoker.model.device import Device
from stoker.model.function import Function
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason
from stoker_cli.containers.container_command import Dialect, create_argv, folder_archive, folders_of
from stoker_cli.containers.container_exit import exit_info
from stoker_cli.containers.engine import Engine, EngineRefused, EngineUnavailable, open_engine
from stoker_cli.containers.images import Images
from stoker_cli.containers.keeper_link import Answer, KeeperLost
from stoker_cli.containers.listening import Listening, holds, listening
from stoker_cli.containers.ownership import Ownership, ownership
from stoker_cli.processes.launcher import ExitInfo
from stoker_cli.processes.replica_command import LaunchFailed, LaunchGivenUp

STOP_S = 8.0
"""Less than what the platform waits for a launcher to stop; the keeper goes on by itself."""
RETRY_S = 1.0
POLL_S = 0.03
POLL_MAX_S = 0.5
EXIT_S = 5.0
"""Between the end of a container and the news of it."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class StartNote(Struct, frozen=True, kw_only=True):
    """What the launcher knows of a start that goes on."""

    reason: Reason | None = None
    """What it waits for; None: for its own program."""
    detail: str = ""
    waited_us: int = 0
    """Time until now that its image took: the program could not begin."""


class _Container:
    """A replica as the launcher knows it."""

    def __init__(self, replica: ReplicaSpec, function: Function, name: str) -> None:
        container = function.container_of(replica.variant)
        self.identity = replica.id
        self.name = name
        self.image = container.image or ""
        self.inner_port = container.port
        self.memory_mib = container.memory_mib
        self.folders = folders_of(container)
        self.log_path = Path()
        self.work: asyncio.Task[int] | None = None
        self.follower: asyncio.Task[None] | None = None
        self.exited: asyncio.Future[ExitInfo] = asyncio.get_running_loop().create_future()
        self.given_up = False
        self.asked = False
        """It was told to end."""
        self.refusal = ""
        """Why the engine could not even start it."""
        self.port: int | None = None
        self.pid = 0
        self.note = StartNote()


class ContainerLauncher:
    """See the module. `on_exit` is called once for every container that was started, however it ends."""

    def __init__(
        self,
        log_dir: Path,
        programs: Sequence[str],
        *,
        clock_us: Callable[[], int],
        on_exit: Callable[[str, ExitInfo], None] = lambda _id, _info: None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """The first of `programs` that answers is used, and stays."""
        self.on_exit = on_exit
        self.on_note: Callable[[], None] = lambda: None
        """Called when notes() has changed."""
        self._log_dir = log_dir
        self._programs = tuple(programs)
        self._clock_us = clock_us
        self._environ = environ
        self._owner: Ownership = ownership()
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()
        self._containers: dict[str, _Container] = {}
        self._images = Images()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Find the engine. EngineUnavailable is one sentence with all that were tried."""
        await self._opened()

    async def stop(self) -> None:
        """End and remove all containers at once (drain them before)."""
        self._stopped = True
        async with self._opening:
            engine = self._engine
        for container in self._containers.values():
            if container.work is not None:
                container.work.cancel()
        if engine is not None:
            await engine.stop_all(STOP_S)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def launch(self, replica: ReplicaSpec, function: Function, devices: Sequence[Device]) -> int:
        """Make and start the container; its port on 127.0.0.1, or 0 where it has ended (and was reported) already.

        Raises LaunchFailed, and LaunchGivenUp after give_up().
        """
        if self._stopped:
            raise LaunchFailed("the launcher has been stopped")
        if replica.id in self._containers:
            raise LaunchFailed(f"{replica.id} still runs")
        container = _Container(replica, function, self._owner.name_of(replica.id))
        container.log_path = self.log_path(replica.id)
        if not container.image:
            raise LaunchFailed("it has no container.image, and containers are made from images; name one")
        self._containers[replica.id] = container
        container.work = asyncio.create_task(self._bring_up(container, replica, function, devices))
        try:
            await asyncio.wait({container.work})
            return container.work.result()
        except asyncio.CancelledError:
            container.work.cancel()
            await asyncio.wait({container.work})
            if container.follower is None:
                await self._discard(container)
            if container.given_up:
                raise LaunchGivenUp(f"the start of {replica.id} was given up") from None
            if self._stopped:
                raise LaunchFailed("the launcher has been stopped") from None
            raise
        except (EngineRefused, EngineUnavailable, LaunchFailed) as error:
            if container.follower is None:
                await self._discard(container)
            if isinstance(error, LaunchFailed):
                raise
            raise LaunchFailed(str(error)) from error

    def give_up(self, replica_id: str) -> None:
        """A launch that still goes on ends with LaunchGivenUp; nothing is left of it."""
        container = self._containers.get(replica_id)
        if container is not None and container.follower is None and container.work is not None:
            container.given_up = True
            container.work.cancel()

    async def terminate(self, replica_id: str, grace_us: int) -> None:
        """End it, by force after the grace (in whole seconds, rounded up); returns when the container is gone.

        EngineUnavailable where that cannot be told.
        """
        container = self._containers.get(replica_id)
        if container is None:
            return
        container.asked = True
        engine = await self._opened()
        if grace_us > 0:
            done = await engine.stop(container.name, math.ceil(grace_us / 1e6))
        else:
            done = await engine.kill(container.name)
        if done:
            await asyncio.wait({container.exited}, timeout=EXIT_S)
        if not container.exited.done():
            await engine.remove(container.name)
            await asyncio.shield(container.exited)

    async def listens(self, replica_id: str) -> None:
        """Returns when the program listens where requests reach it, or the container is gone."""
        pause_s = POLL_S
        while (container := self._containers.get(replica_id)) is not None and container.port is not None:
            found = listening(container.pid, container.inner_port) if container.pid else Listening.UNKNOWN
            if found is Listening.YES or (found is Listening.UNKNOWN and await holds(container.port)):
                self._note(container, StartNote(waited_us=container.note.waited_us))
                return
            if found is Listening.LOOPBACK_ONLY:
                self._note(
                    container,
                    StartNote(
                        reason=Reason.INITIALISING,
                        detail=f"its program listens on 127.0.0.1:{container.inner_port} inside its container, where "
                        "no request reaches it; let it listen on 0.0.0.0",
                        waited_us=container.note.waited_us,
                    ),
                )
            await asyncio.sleep(pause_s)
            pause_s = min(POLL_MAX_S, pause_s * 1.05)

    def notes(self) -> dict[str, StartNote]:
        """By replica id."""
        return {identity: container.note for identity, container in self._containers.items()}

    def log_path(self, replica_id: str) -> Path:
        """Where the output of a replica goes; `.1` is the part before the last rotation."""
        return self._log_dir / f"{replica_id.replace('/', '.')}.log"

    async def _opened(self) -> Engine:
        async with self._opening:
            if self._engine is not None:
                return self._engine
            missing = []
            for program in self._programs:
                try:
                    self._engine = await open_engine(program, self._owner, self._environ)
                except EngineUnavailable as error:
                    missing.append(str(error))
                else:
                    log.info("container_engine", program=program, dialect=self._engine.dialect.value)
                    return self._engine
            raise EngineUnavailable("; ".join(missing))

    async def _bring_up(
        self, container: _Container, replica: ReplicaSpec, function: Function, devices: Sequence[Device]
    ) -> int:
        engine = await self._opened()
        argv = create_argv(
            replica,
            function,
            devices,
            image=container.image,
            name=container.name,
            labels=self._owner.labels_of(replica.id),
            dialect=engine.dialect,
        )
        try:
            await _to_its_end(engine.create(argv))
        except EngineRefused:
            # Asked only now: where the image is there, which is the rule, the question would cost a start-up.
            if await engine.has_image(container.image):
                raise
            await self._fetch(engine, container)
            await _to_its_end(engine.create(argv))
        if engine.dialect is Dialect.DOCKER:
            # podman gives a new volume to the container's user; docker leaves it to root.
            await _to_its_end(engine.copy_in(container.name, folder_archive(container.folders)))
        container.follower = asyncio.create_task(self._follow(engine, container))
        self._tasks.add(container.follower)
        container.follower.add_done_callback(self._tasks.discard)
        pause_s = POLL_S
        while not container.exited.done():
            with contextlib.suppress(EngineUnavailable):
                state = await engine.state(container.name, container.inner_port)
                if state is not None and state.is_running and state.port is not None:
                    container.port, container.pid = state.port, state.pid
                    return state.port
            await asyncio.wait({container.exited}, timeout=pause_s)
            pause_s = min(POLL_MAX_S, pause_s * 1.5)
        if container.refusal:
            raise LaunchFailed(container.refusal)
        return 0

    async def _fetch(self, engine: Engine, container: _Container) -> None:
        began_us = self._clock_us()
        detail = f"{engine.program} pulls {container.image}"
        self._note(container, StartNote(reason=Reason.PULLING_IMAGE, detail=detail))
        try:
            await self._images.fetch(engine, container.image)
        finally:
            self._note(container, StartNote(waited_us=self._clock_us() - began_us))

    async def _follow(self, engine: Engine, container: _Container) -> None:
        """From the start of a container until it is gone."""
        try:
            answer = await engine.follow(container.name, container.log_path)
        except KeeperLost:
            answer = Answer(code=None, err="")
        state = await self._until_answered(lambda: engine.state(container.name, container.inner_port))
        if state is not None:
            await self._until_answered(lambda: engine.remove(container.name))
        if self._stopped and state is None:
            info = ExitInfo(code=None, signal=signal.SIGKILL, reason=Reason.SHUTDOWN, detail="it was stopped")
        elif state is not None and state.never_ran:
            said = state.error or answer.sentence
            container.refusal = f"{engine.program} could not start it: {said}"
            info = ExitInfo(code=None, detail=container.refusal)
        else:
            info = exit_info(
                state,
                answer.tail,
                program=engine.program,
                dialect=engine.dialect,
                memory_mib=container.memory_mib,
                asked=container.asked,
            )
        self._forget(container)
        container.exited.set_result(info)
        if not container.refusal:
            self.on_exit(container.identity, info)

    async def _until_answered(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """A device is free only when its container is known to be gone, so this goes on until the engine answers."""
        said = False
        while not self._stopped:
            try:
                return await ask()
            except EngineUnavailable as error:
                if not said:
                    log.warning("container_engine_unavailable", error=str(error))
                    said = True
            await asyncio.sleep(RETRY_S)
        return None

    async def _discard(self, container: _Container) -> None:
        """Remove what a failed launch may have left."""
        try:
            if self._engine is not None and not self._stopped:
                await asyncio.shield(self._engine.remove(container.name))
        except EngineUnavailable as error:
            log.warning("container_left", name=container.name, error=str(error))
        finally:
            self._forget(container)

    def _forget(self, container: _Container) -> None:
        if self._containers.get(container.identity) is container:
            del self._containers[container.identity]

    def _note(self, container: _Container, note: StartNote) -> None:
        if note != container.note:
            container.note = note
            self.on_note()


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Not cut short by a cancellation: what is half made can be removed only when it is whole."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
