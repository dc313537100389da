"""Stoker's end of a keeper (stoker_cli.containers.keeper): calls of an engine's command line, answered in any order.

The event loop serves requests, so it never forks for a call: a call is a line. A keeper that died is replaced at the
next call; the calls that it had are answered by KeeperLost.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from stoker.errors import StokerError
from stoker_cli.containers.keeper import LINE_BYTES

START_S = 20.0
CALL_S = 60.0
"""A loaded machine is slow: an engine that needs longer for a short call hangs."""
MARGIN_S = 10.0
"""By how much the keeper may be late with its own bound."""

log = structlog.get_logger(__name__)


class KeeperLost(StokerError):  # noqa: N818  the name states the fact
    """The keeper ended while it had the call; what the call did is not known."""


class Answer(Struct, frozen=True, kw_only=True):
    """How a call ended."""

    code: int | None
    """Exit code of the command line; None where it was not started or did not end in time."""
    out: str = ""
    err: str = ""
    tail: tuple[str, ...] = ()
    """Of a call with `log`: the last lines of all output."""

    @property
    def sentence(self) -> str:
        """What the engine said was wrong, in one line without its own prefixes."""
        lines = [line.strip() for line in self.err.splitlines() or self.tail if line.strip()]
        said = next((line for line in reversed(lines) if line.startswith("Error")), lines[-1] if lines else "")
        for prefix in ("Error response from daemon: ", "Error: "):
            said = said.removeprefix(prefix)
        return said.rstrip(".") or f"it ended with exit code {self.code} and said nothing"


class KeeperLink:
    """Runs calls of `program`. Containers that match `label` are removed when this process ends or stop() is called."""

    def __init__(self, program: str, label: str, environ: Mapping[str, str] | None = None) -> None:
        self._argv = (sys.executable, "-P", "-m", "stoker_cli.containers.keeper", program, label)
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._stopped = False

    async def call(
        self, *argv: str, timeout_s: float | None = CALL_S, given: bytes = b"", log_path: Path | None = None
    ) -> Answer:
        """One call, and KeeperLost where its end cannot be known.

        Cancelled, a call without `timeout_s` (a pull) is asked to end; others are short and go on to theirs.
        """
        process = await self._ready()
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            await _send(
                process,
                {
                    "op": "call",
                    "n": number,
                    "argv": argv,
                    "timeout_s": timeout_s,
                    "input": base64.b64encode(given).decode() if given else None,
                    "log": None if log_path is None else str(log_path),
                },
            )
            async with asyncio.timeout(None if timeout_s is None else timeout_s + MARGIN_S):
                return await asyncio.shield(future)
        except TimeoutError:
            return Answer(code=None, err=f"it did not answer within {timeout_s:g} s")
        except asyncio.CancelledError:
            if timeout_s is None and process.stdin is not None and not process.stdin.is_closing():
                process.stdin.write(_line({"op": "cancel", "n": number}))
            raise
        finally:
            self._waiting.pop(number, None)
            if future.done() and not future.cancelled():
                future.exception()  # it may have come when nobody waited any more

    async def stop(self, within_s: float) -> None:
        """Remove the containers and end the keeper. After `within_s` it goes on by itself."""
        self._stopped = True
        async with self._starting:
            process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await process.wait()
                await reader
        if not reader.done():
            log.warning("containers_still_removed", within_s=within_s)
            reader.cancel()
            await asyncio.wait({reader})
        self._fail_all()

    async def discard(self) -> None:
        """End the keeper at once: there is nothing that it would have to remove."""
        self._stopped = True
        async with self._starting:
            process, reader = self._process, self._reader
        if process is not None and reader is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await reader

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def _ready(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._stopped:
                raise KeeperLost("the launcher has been stopped")
            if self._process is None:
                self._process = await self._start()
            return self._process

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=LINE_BYTES,
            env=None if self._environ is None else dict(self._environ),
        )
        assert process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(process.stdout.readline(), START_S)
        if not line:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise KeeperLost("the keeper process did not start; standard error may say why")
        self._reader = asyncio.create_task(self._read(process), name="keeper events")
        return process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                event = json.loads(line)
                future = self._waiting.get(event["n"])
                if future is not None and not future.done():
                    future.set_result(
                        Answer(code=event["code"], out=event["out"], err=event["err"], tail=tuple(event["tail"]))
                    )
        finally:
            if self._process is process:
                self._process = None
            self._fail_all()
        await process.wait()

    def _fail_all(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(KeeperLost("the keeper process ended"))


def _line(command: Mapping[str, Any]) -> bytes:
    return json.dumps(command).encode() + b"\n"


async def _send(process: asyncio.subprocess.Process, command: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(_line(command))
        await process.stdin.drain()
    except (ConnectionError, RuntimeError) as error:
        raise KeeperLost("the keeper process ended") from error
