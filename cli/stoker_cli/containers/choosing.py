"""The launcher that `stoker serve` has: for each replica the process launcher or the container launcher.

The choice is stoker_cli.launching's. Behind it both are one, with the same methods.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from stoker.model.device import Device
from stoker.model.function import Function
from stoker.model.replica import ReplicaSpec
from stoker_cli.containers.engine import EngineUnavailable
from stoker_cli.containers.launcher import ContainerLauncher, StartNote
from stoker_cli.launching import ENGINES, LauncherName, as_process
from stoker_cli.processes.launcher import ExitInfo, ProcessLauncher
from stoker_cli.processes.replica_command import LaunchFailed

NO_ENGINE = "container.command is not set, so its image needs podman or docker"


class ChoosingLauncher:
    """See the module."""

    def __init__(self, name: LauncherName, log_dir: Path, clock_us: Callable[[], int]) -> None:
        self._name = name
        self._processes = ProcessLauncher(log_dir)
        self._containers = ContainerLauncher(log_dir, ENGINES[name], clock_us=clock_us)

    @property
    def on_exit(self) -> Callable[[str, ExitInfo], None]:
        return self._processes.on_exit

    @on_exit.setter
    def on_exit(self, callback: Callable[[str, ExitInfo], None]) -> None:
        self._processes.on_exit = self._containers.on_exit = callback

    async def start(self) -> None:
        """Have ready what is used for sure. EngineUnavailable where the engine that was asked for is not there."""
        if self._name in (LauncherName.AUTO, LauncherName.PROCESS):
            # An engine is looked for when the first function needs one: most machines need none.
            await self._processes.start()
            return
        try:
            await self._containers.start()
        except EngineUnavailable as error:
            raise EngineUnavailable(f"--launcher {self._name}: {error}.") from error

    async def stop(self) -> None:
        """End all replicas at once."""
        try:
            await self._processes.stop()
        finally:
            await self._containers.stop()

    async def launch(self, replica: ReplicaSpec, function: Function, devices: Sequence[Device]) -> int:
        """Start the replica; its port on 127.0.0.1. Raises LaunchFailed and LaunchGivenUp."""
        if as_process(function, replica.variant, self._name):
            return await self._processes.launch(replica, function, devices)
        if self._name is LauncherName.AUTO:
            try:
                await self._containers.start()
            except EngineUnavailable as error:
                raise LaunchFailed(f"{NO_ENGINE}: {error}") from error
        return await self._containers.launch(replica, function, devices)

    def give_up(self, replica_id: str) -> None:
        """End a launch that still goes on; that of a process takes no time."""
        self._containers.give_up(replica_id)

    async def terminate(self, replica_id: str, grace_us: int) -> None:
        """End a replica; returns when it is gone. One of the two has never heard of it."""
        await self._processes.terminate(replica_id, grace_us)
        await self._containers.terminate(replica_id, grace_us)

    async def listens(self, replica_id: str) -> None:
        """Returns when a connection to the replica's port would reach its program; at once for processes."""
        await self._containers.listens(replica_id)

    def notes(self) -> dict[str, StartNote]:
        """What is known of containers that start, by replica id."""
        return self._containers.notes()

    def on_note(self, callback: Callable[[], None]) -> None:
        self._containers.on_note = callback
