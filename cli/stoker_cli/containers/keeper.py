"""The child process that runs a container engine's command line, and removes the containers when Stoker has ended.

`python -m stoker_cli.containers.keeper PROGRAM FILTER` reads one JSON command per line from stdin and writes one JSON
event per line to stdout (stoker_cli.containers.keeper_link is the other end). Standard library only: it starts fast,
and forking it is cheap. It knows calls and their output, and nothing of functions.

When stdin closes (Stoker ended, however it ended) pulls are given up and every container that matches FILTER is
removed. Containers are no children of ours: with docker they are the daemon's, with podman those of conmon, which
left us on purpose. Killing them as processes would leave their storage, networks and names behind.

Commands: {"op": "call", "n", "argv", "timeout_s", "input", "log"}, {"op": "cancel", "n"}. `timeout_s` null: without a
bound; `input` is base64; with `log` all output goes to that file and its last lines are the answer.
Events: {"event": "ready"}, {"event": "called", "n", "code", "out", "err", "tail"}; code null: it was not started, or
did not end in time, and `err` says so.
"""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from stoker_cli.processes.output_log import OutputLog

LINE_BYTES = 4 * 2**20
READ_BYTES = 65536
OUT_BYTES = 256 * 1024
ERR_BYTES = 16 * 1024
LAST_CALLS_S = 5.0
"""How long calls that were begun may finish at the end: half of a `create` is the worst state to leave."""
END_S = 30.0
SWEEP_CALL_S = 20.0
SWEEP_PAUSE_S = 0.2
EMPTY_LOOKS = 2
"""A daemon may still finish a `create` whose client is gone."""


class Call:
    """One run of the engine's program."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.number: int = command["n"]
        self.argv: list[str] = command["argv"]
        self.timeout_s: float | None = command.get("timeout_s")
        self.input = base64.b64decode(command.get("input") or "")
        self.log: str | None = command.get("log")
        self.process: asyncio.subprocess.Process | None = None
        self.cancelled = False

    @property
    def may_be_cut(self) -> bool:
        """A pull: it has no bound, and cutting it leaves nothing but layers for the next one."""
        return self.timeout_s is None and self.log is None

    def cancel(self) -> None:
        self.cancelled = True
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


class Keeper:
    """See the module."""

    def __init__(self, program: str, label: str) -> None:
        self._program = program
        self._label = label
        self._calls: dict[int, Call] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._has_made = False

    async def run(self) -> None:
        """Serve until stdin closes, then remove everything."""
        loop = asyncio.get_running_loop()
        # Caught and not ignored: what is ignored stays so in every child, and so in the containers of podman.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _emit({"event": "ready"})
        try:
            while line := await reader.readline():
                self._obey(json.loads(line))
        finally:
            await self._end()

    def _obey(self, command: dict[str, Any]) -> None:
        if command["op"] == "cancel":
            if (call := self._calls.get(command["n"])) is not None:
                call.cancel()
            return
        call = self._calls[command["n"]] = Call(command)
        self._has_made |= call.argv[0] == "create"
        self._tasks[call.number] = asyncio.get_running_loop().create_task(self._answer(call))

    async def _answer(self, call: Call) -> None:
        answer: dict[str, Any] = {"code": None, "out": "", "err": "", "tail": []}
        try:
            answer |= await self._perform(call)
        except OSError as error:
            answer["err"] = f"{self._program} could not be started: {error.strerror or error}"
        del self._calls[call.number], self._tasks[call.number]
        _emit({"event": "called", "n": call.number, **answer})

    async def _perform(self, call: Call) -> dict[str, Any]:
        if call.cancelled:
            return {"err": "given up"}
        folder = None if call.log is None else Path(call.log).parent
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        process = call.process = await asyncio.create_subprocess_exec(
            self._program,
            *call.argv,
            stdin=asyncio.subprocess.PIPE if call.input else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if call.log is not None else asyncio.subprocess.PIPE,
            # Podman's monitor writes a file `oom` where it was started from, and that is not to be the user's folder.
            cwd=folder,
        )
        if call.cancelled:
            call.cancel()
        if call.log is not None:
            output = OutputLog(Path(call.log))
            assert process.stdout is not None
            while data := await process.stdout.read(READ_BYTES):
                output.write(data)
            output.close()
            return {"code": await process.wait(), "tail": output.tail()}
        try:
            async with asyncio.timeout(call.timeout_s):
                out, err = await process.communicate(call.input or None)
        except TimeoutError:
            call.kill()
            await process.wait()
            return {"err": f"it did not answer within {call.timeout_s:g} s"}
        return {
            "code": process.returncode,
            "out": out[:OUT_BYTES].decode("utf-8", "replace"),
            "err": err[-ERR_BYTES:].decode("utf-8", "replace"),
        }

    async def _end(self) -> None:
        for call in list(self._calls.values()):
            if call.may_be_cut:
                call.cancel()
        short = {task for number, task in self._tasks.items() if self._calls[number].log is None}
        if short:
            await asyncio.wait(short, timeout=LAST_CALLS_S)
        if self._has_made:
            await self._remove_all()
        # Those who followed a container have ended with it.
        for call in list(self._calls.values()):
            call.kill()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=LAST_CALLS_S)

    async def _remove_all(self) -> None:
        """Until looks find nothing. What an engine that does not answer keeps is the next start's to remove."""
        deadline = time.monotonic() + END_S
        empty = 0
        while empty < EMPTY_LOOKS and time.monotonic() < deadline:
            found = await self._sweep_call("ps", "-aq", "--filter", self._label)
            if found:
                empty = 0
                await self._sweep_call("rm", "-f", "-v", *found)
            elif found is not None:
                empty += 1
            await asyncio.sleep(SWEEP_PAUSE_S)

    async def _sweep_call(self, *argv: str) -> list[str] | None:
        call = Call({"n": -1, "argv": list(argv), "timeout_s": SWEEP_CALL_S})
        try:
            answer = await self._perform(call)
        except OSError:
            return None
        return answer["out"].split() if answer.get("code") == 0 else None


def _emit(event: dict[str, Any]) -> None:
    data = json.dumps(event).encode() + b"\n"
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        return  # Stoker is gone; stdin says so too


if __name__ == "__main__":
    asyncio.run(Keeper(sys.argv[1], sys.argv[2]).run())
