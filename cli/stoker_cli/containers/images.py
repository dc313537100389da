"""Images are pulled once for all replicas that wait for them; the last one that gives up ends the pull."""

import asyncio

import structlog

from stoker.reasons import Reason
from stoker_cli.containers.engine import Engine, EngineRefused
from stoker_cli.processes.replica_command import LaunchFailed

log = structlog.get_logger(__name__)


class _Pull:
    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.waiters = 0


class Images:
    """The pulls that go on in one engine."""

    def __init__(self) -> None:
        self._pulls: dict[str, _Pull] = {}

    async def fetch(self, engine: Engine, image: str) -> None:
        """Returns when the image is there. LaunchFailed says what the engine said; cancelled: nobody waits here."""
        pull = self._pulls.get(image)
        if pull is None:
            log.info("image_pull", image=image, engine=engine.program)
            pull = self._pulls[image] = _Pull(asyncio.create_task(engine.pull(image)))
        pull.waiters += 1
        try:
            await asyncio.shield(pull.task)
        except EngineRefused as error:
            raise LaunchFailed(
                f"{engine.program} could not pull {image} ({error}); "
                f"check the name, or give this user access by: {engine.program} login",
                Reason.IMAGE_PULL_FAILED,
            ) from error
        finally:
            pull.waiters -= 1
            if not pull.waiters:
                # At once: whoever comes now must not wait for a pull that is being ended.
                del self._pulls[image]
                pull.task.cancel()
