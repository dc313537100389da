"""A gateway under test, and an agent that does as a test says. Both over loopback, on the real wire."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from ssl import SSLContext
from typing import Any

import msgspec

from stoker.decisions import RequestRecord
from stoker.metrics import MetricSpec
from stoker.model.function import (
    ContainerSpec,
    CpuVariant,
    Function,
    FunctionSpec,
    GpuOption,
    Slo,
    Variant,
)
from stoker.reasons import HTTP_STATUS, Reason
from stoker.wire.agent import LoadFrame, Refusal, VariantLoad
from stoker_gateway.access import Prover
from stoker_gateway.config import AgentAddress, GatewaySettings
from stoker_gateway.gateway import Gateway

PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


def clock_us() -> int:
    return time.monotonic_ns() // 1000


def function(name: str = "f", *, namespace: str = "ns", cpu_variant: bool = False, **spec: Any) -> Function:
    return Function(
        namespace=namespace,
        name=name,
        uid=name,
        generation=1,
        revision="0123456789",
        spec=FunctionSpec(
            container=ContainerSpec(),
            gpu=(GpuOption(memory_mib=1024),),
            cpu_variant=CpuVariant(container=ContainerSpec()) if cpu_variant else None,
            slo=spec.pop("slo", Slo(latency_us=250_000)),
            **spec,
        ),
    )


class Run:
    """One exchange at the agent: an admission, or a request."""

    def __init__(
        self, agent: "FakeAgent", reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:])]
        self.agent = agent
        self.reader = reader
        self.writer = writer
        self.body_read = 0
        self.body_done = False

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    async def body(self, *, keep: bool = True) -> bytes:
        parts: list[bytes] = []
        if self.header("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\n"), 16):
                await self._take(size, parts, keep=keep)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        else:
            await self._take(int(self.header("content-length") or 0), parts, keep=keep)
        self.body_done = True
        return b"".join(parts)

    async def _take(self, size: int, parts: list[bytes], *, keep: bool) -> None:
        while size:
            part = await self.reader.readexactly(min(size, 65536))
            size -= len(part)
            self.body_read += len(part)
            if keep:
                parts.append(part)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def processing(self) -> None:
        await self.raw(PROCESSING)

    async def answer(self, body: bytes = b"ok", status: int = 200, headers: str = "") -> None:
        head = (
            f"HTTP/1.1 {status} Fine\r\nstoker-dispatched: 1\r\nstoker-device: A100/sim-0\r\n"
            f"server-timing: queue;dur=1.5, exec;dur=2.25\r\n{headers}content-length: {len(body)}\r\n\r\n"
        )
        await self.raw(head.encode() + (b"" if self.method == "HEAD" else body))

    async def refuse(self, reason: Reason, *, dispatched: int = 0, detail: str = "said the agent", **more: Any) -> None:
        body = msgspec.json.encode(Refusal(status=HTTP_STATUS[reason], reason=reason, detail=detail, **more))
        head = (
            f"HTTP/1.1 {HTTP_STATUS[reason]} No\r\nstoker-dispatched: {dispatched}\r\n"
            f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        await self.raw(head.encode() + (b"" if self.method == "HEAD" else body))

    def hang_up(self) -> None:
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Until the gateway has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Handler = Callable[[Run], Awaitable[None]]


async def serve(run: Run) -> None:
    """What an agent does on a good day: dispatch, and the replica echoes."""
    body = await run.body()
    await run.processing()
    await run.answer(body or b"ok")


class FakeAgent:
    """Grants every admission and serves every request, unless `on_admit` or `on_run` say otherwise."""

    def __init__(self) -> None:
        self.on_run: Handler = serve
        self.on_admit: Handler | None = None
        self.runs: list[Run] = []
        self.admissions: list[Run] = []
        self.bytes_in = 0
        self.accepts = True
        self.port = 0
        self.functions: dict[str, dict[Variant, VariantLoad]] = {}
        self._seq = 0
        self._streams: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Event()

    async def start(self, host: str = "127.0.0.1", ssl: SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, host, self.port, ssl=ssl)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def load(self, key: str, variant: Variant = Variant.GPU, **figures: float) -> None:
        """Say something new of one variant on every open stream."""
        load = VariantLoad(**figures)  # type: ignore[arg-type]
        self.functions.setdefault(key, {})[variant] = load
        self.say(LoadFrame(seq=0, functions={key: dict(self.functions[key])}))

    def say(self, frame: LoadFrame) -> None:
        self._seq += 1
        frame.seq = self._seq
        for writer in self._streams:
            writer.write(chunk(msgspec.json.encode(frame) + b"\n"))

    def heartbeat(self) -> None:
        self.say(LoadFrame(seq=0))

    def say_raw(self, line: bytes) -> None:
        for writer in self._streams:
            writer.write(chunk(line))

    def hang_up_streams(self) -> None:
        for writer in tuple(self._streams):
            writer.transport.abort()

    async def run_number(self, count: int) -> Run:
        """The count-th run, when it has come."""
        while len(self.runs) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return self.runs[count - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.bytes_in += len(head)
                await self._exchange(Run(self, reader, writer, head))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._streams.discard(writer)
            writer.close()

    async def _exchange(self, run: Run) -> None:
        if run.target == "/v1/load":
            if not self.accepts:
                raise ConnectionResetError
            await run.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            frame = LoadFrame(seq=self._seq, full=True, functions=self.functions)
            await run.raw(chunk(msgspec.json.encode(frame) + b"\n"))
            self._streams.add(run.writer)
            await run.gone()
            raise ConnectionResetError
        if run.target == "/v1/admit":
            self.admissions.append(run)
            if self.on_admit is not None:
                await self.on_admit(run)
            else:
                await run.raw(b"HTTP/1.1 200 OK\r\nstoker-dispatched: 0\r\ncontent-length: 0\r\n\r\n")
            return
        self.runs.append(run)
        self._arrived.set()
        await self.on_run(run)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class CountingSink:
    """A MetricsSink that remembers counters and gauges."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def inc(self, spec: MetricSpec, *labels: str, amount: float = 1) -> None:
        self.values[spec.name, *labels] = self.values.get((spec.name, *labels), 0) + amount

    def set(self, spec: MetricSpec, value: float, *labels: str) -> None:
        self.values[spec.name, *labels] = value

    def observe(self, spec: MetricSpec, value: float, *labels: str) -> None:
        self.values[spec.name, *labels] = value

    def forget(self, spec: MetricSpec, *labels: str) -> None:
        self.values.pop((spec.name, *labels), None)

    def forget_function(self, namespace: str, function: str) -> None:
        for key in [key for key in self.values if key[1:3] == (namespace, function)]:
            del self.values[key]


class Answer:
    """What a raw client read."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        self.body = body

    def problem(self) -> Refusal:
        assert self.headers["content-type"] == "application/problem+json"
        return msgspec.json.decode(self.body, type=Refusal)


class Client:
    """One raw client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self, *, bodiless: bool = False) -> Answer:
        head = await self.head()
        while head.startswith(b"HTTP/1.1 1"):
            head = await self.head()
        answer = Answer(head, b"")
        if bodiless or answer.status in (204, 304):
            return answer
        if answer.headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                answer.body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        elif "content-length" in answer.headers:
            answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
        else:
            answer.body = await self.reader.read()
        return answer

    async def closed(self) -> bool:
        """Until the gateway has closed the connection; whether it sent nothing more before."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    def hang_up(self) -> None:
        self.writer.transport.abort()


class GatewayUnderTest:
    """A Gateway before one FakeAgent (or more), with the figures that it would give to its composer."""

    def __init__(
        self,
        *functions: Function,
        agents: int = 1,
        prover: Prover | None = None,
        by_path: Callable[[str], bool] | None = None,
        **settings: Any,
    ) -> None:
        self.agents = [FakeAgent() for _ in range(agents)]
        self.agent = self.agents[0]
        self.metrics = CountingSink()
        self.records: list[RequestRecord] = []
        self.demand_calls = 0
        self.gateway = Gateway(
            clock_us=clock_us,
            metrics=self.metrics,
            settings=GatewaySettings(**{"hangup_poll_s": 0.05, "lingering_s": 0.1} | settings),
            on_record=self.records.append,
            why_waiting=lambda key: f"{key} waits for a GPU.",
            prover=prover,
            by_path=by_path,
        )
        self.functions = {f.key: f for f in functions}
        self.clients: list[Client] = []

    async def start(self, *, wait: bool = True) -> "GatewayUnderTest":
        for agent in self.agents:
            await agent.start()
        self.gateway.set_functions(self.functions)
        self.gateway.on_demand(self._count)
        await self.gateway.start("127.0.0.1", 0, [AgentAddress("127.0.0.1", agent.port) for agent in self.agents])
        if wait:
            await self.until(lambda: all(link.usable for link in self.gateway._view._links))
        return self

    def _count(self) -> None:
        self.demand_calls += 1

    async def close(self) -> None:
        for client in self.clients:
            client.hang_up()
        await self.gateway.stop(drain_s=0.2)
        for agent in self.agents:
            await agent.close()

    async def warm(self, key: str = "ns/f", variant: Variant = Variant.GPU, **figures: float) -> None:
        """Every agent has a warm replica, and the gateway knows."""
        for agent in self.agents:
            agent.load(key, variant, **{"warm": 1, "free": 1, "exec_ms": 5.0} | figures)
        await self.until(lambda: self.gateway._view.warm(key, variant) == len(self.agents))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.001)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.gateway.port))
        self.clients.append(client)
        return client

    async def call(
        self,
        target: str = "/ns/f/",
        *,
        method: str = "GET",
        headers: str = "",
        body: bytes | None = None,
        host: str = "127.0.0.1",
    ) -> Answer:
        client = await self.client()
        await client.send(request(target, method=method, headers=headers, body=body, host=host))
        return await client.answer(bodiless=method == "HEAD")

    async def ended(self, count: int = 1) -> RequestRecord:
        """The count-th record, when that request has ended."""
        await self.until(lambda: len(self.records) >= count)
        return self.records[count - 1]

    def at_rest(self) -> bool:
        """Nothing is counted any more: every place was given back."""
        states = self.gateway._states.values()
        return not self.gateway._live and all(
            state.undispatched == 0
            and state.undispatched_bytes == 0
            and all(v.in_system == 0 and not v.held for v in (state.gpu, state.cpu))
            for state in states
        )


def request(
    target: str = "/ns/f/",
    *,
    method: str = "GET",
    headers: str = "",
    body: bytes | None = None,
    host: str = "127.0.0.1",
) -> bytes:
    framing = "" if body is None else f"content-length: {len(body)}\r\n"
    return f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n{headers}{framing}\r\n".encode() + (body or b"")


Start = Callable[..., Coroutine[Any, Any, GatewayUnderTest]]


async def starting() -> AsyncIterator[Start]:
    """For a fixture: starts gateways (their functions warm unless `warm=False`) and closes them after the test."""
    running: list[GatewayUnderTest] = []

    async def begin(*functions: Function, warm: bool = True, **options: Any) -> GatewayUnderTest:
        under_test = await GatewayUnderTest(*(functions or (function(),)), **options).start()
        running.append(under_test)
        if warm:
            for key in under_test.functions:
                await under_test.warm(key)
        return under_test

    yield begin
    for under_test in running:
        await under_test.close()
