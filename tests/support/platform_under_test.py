"""Starts `stoker serve` as a user would (a process of its own, an own HOME) and talks to it by HTTP only."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

REPLICA = Path(__file__).with_name("replica_for_tests.py")
STOKER = Path(sys.executable).with_name("stoker")


def function(
    name: str, *, env: dict[str, str] | None = None, gpu: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """A GpuFunction that runs the replica for tests; keyword arguments are spec fields."""
    container = {
        "command": [sys.executable, "-S", str(REPLICA)],
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": name},
        "spec": {
            "container": container,
            "gpu": {"memory": "4Gi"} if gpu is None else gpu,
            "slo": {"latency": "5s"},
            **spec,
        },
    }


class Answer:
    def __init__(self, status: int, headers: Any, body: bytes, seconds: float) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.seconds = seconds

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def problem(self) -> dict[str, Any]:
        problem: dict[str, Any] = json.loads(self.body)
        return problem


class Platform:
    """One `stoker serve` over a folder of function files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.functions = folder / "functions"
        self.functions.mkdir()
        self.home = folder / "home"
        self.home.mkdir()
        self.events_path = folder / "events.log"
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.internal = 0
        self.output = folder / "serve.log"
        self._session: aiohttp.ClientSession | None = None

    def apply(self, *documents: dict[str, Any], file: str | None = None) -> Path:
        """Write documents as a file (a JSON text is YAML); by rename, as editors do."""
        name = file or f"{documents[0]['metadata']['name']}.yaml"
        for document in documents:
            if document["kind"] == "GpuFunction":
                env = document["spec"]["container"].setdefault("env", [])
                if not any(item["name"] == "EVENT_LOG" for item in env):
                    env.append({"name": "EVENT_LOG", "value": str(self.events_path)})
        target = self.functions / name
        temporary = self.folder / f"{name}.tmp"
        temporary.write_text("\n---\n".join(json.dumps(document) for document in documents))
        temporary.rename(target)
        return target

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", **more}

    async def start(self, *args: str, gpus: str = "2xA100-40GB", env: dict[str, str] | None = None) -> None:
        with self.output.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                str(STOKER),
                "serve",
                str(self.functions),
                "--gpus",
                gpus,
                "--port",
                "0",
                *args,
                env=self.environment(**(env or {})),
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        await self.until(self._found_state, "the state file", 20)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        await self.until_ready()

    def _found_state(self) -> bool:
        assert self.process is not None
        if self.process.returncode is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}: {self.output.read_text()[-2000:]}")
        for path in (self.home / ".local/state/stoker").glob("serve-*.json"):
            state = json.loads(path.read_text())
            if state["pid"] == self.process.pid:
                self.port = int(state["url"].rsplit(":", 1)[1])
                self.internal = int(state["internal"].rsplit(":", 1)[1])
                return True
        return False

    async def until_ready(self) -> None:
        async def ready() -> bool:
            try:
                return (await self.fetch("/readyz", port=self.internal)).status == 200
            except aiohttp.ClientError:
                return False

        await self.until(ready, "/readyz", 20)

    async def until(self, condition: Callable[[], Any], what: str, ceiling_s: float = 10) -> None:
        """Wait for a condition (sync or async); fail by a generous ceiling."""
        deadline = time.monotonic() + ceiling_s
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {ceiling_s} s: {what}\n{self.output.read_text()[-3000:]}")
            await asyncio.sleep(0.03)

    async def fetch(
        self, path: str, *, method: str = "GET", data: Any = None, headers: dict[str, str] | None = None, port: int = 0
    ) -> Answer:
        assert self._session is not None
        begin = time.monotonic()
        url = f"http://127.0.0.1:{port or self.port}{path}"
        async with self._session.request(method, url, data=data, headers=headers) as response:
            body = await response.read()
            return Answer(response.status, response.headers, body, time.monotonic() - begin)

    async def call(self, name: str, path: str = "/", **more: Any) -> Answer:
        return await self.fetch(f"/default/{name}{path}", **more)

    async def state(self) -> dict[str, Any]:
        return json.loads((await self.fetch("/v1/state", port=self.internal)).body)  # type: ignore[no-any-return]

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric whose labels contain those given."""
        text = (await self.fetch("/metrics", port=self.internal)).text
        total = 0.0
        for line in text.splitlines():
            match = re.match(rf"^{name}(?:\{{(.*)\}})? (\S+)$", line)
            if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
                total += float(match[2])
        return total

    def events(self, kind: str | None = None) -> list[list[str]]:
        """Lines of the replicas' event log: [time, replica, kind, ...]."""
        if not self.events_path.exists():
            return []
        lines = [line.split(" ") for line in self.events_path.read_text().splitlines()]
        return [line for line in lines if kind is None or line[2] == kind]

    async def replicas(self, name: str, state: str = "warm") -> int:
        return int(await self.metric("stoker_replicas", function=name, state=state))

    async def until_warm(self, name: str, count: int = 1, ceiling_s: float = 10) -> None:
        async def warm() -> bool:
            return await self.replicas(name) >= count

        await self.until(warm, f"{count} warm replicas of {name}", ceiling_s)

    def rss_mib(self) -> int:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) // 1024  # type: ignore[index]

    def processes(self) -> list[int]:
        """All live processes that descend from this platform, found by the event log's path in their environment."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                marked = str(self.folder).encode() in (entry / "environ").read_bytes()
                zombie = "\nState:\tZ" in (entry / "status").read_text()
            except OSError:
                continue
            if marked and not zombie:
                found.append(int(entry.name))
        return found

    async def cli(self, *args: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            str(STOKER),
            *args,
            env=self.environment(COLUMNS="200"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    def send_signal(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), 30)
        if self._session is not None:
            await self._session.close()
            self._session = None
        return code

    async def close(self) -> None:
        """For the fixture: end everything, however the test ended."""
        if self._session is not None:
            await self._session.close()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
