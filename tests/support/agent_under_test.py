"""A real Agent over loopback: replicas are small asyncio servers in the test, gateways are raw connections."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import (
    ContainerSpec,
    CpuVariant,
    Function,
    FunctionSpec,
    GpuOption,
    Probe,
    Scaling,
    Sharing,
    Slo,
    Variant,
)
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.names import replica_id
from stoker.wire.agent import LoadFrame
from stoker_node.agent import Agent
from stoker_node.config import NodeSettings
from stoker_runtime.http_client import HttpConnection, HttpPool, ResponseHead
from stoker_runtime.metrics import PrometheusSink

REVISION = "0123456789"


def clock_us() -> int:
    return time.monotonic_ns() // 1000


def gpu(device_id: str = "sim-0", *, memory_mib: int = 40960, slots: int = 1) -> Device:
    return Device(
        id=device_id, kind=DeviceKind.GPU, product="A100-40GB", memory_mib=memory_mib, slots=slots, simulated=True
    )


def cpu(millicores: int = 8000) -> Device:
    return Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=16384, millicores=millicores)


def function(name: str = "f", *, concurrency: int = 1, cpu_variant: bool = False, **spec: Any) -> Function:
    namespace, _, bare = key_of(name).partition("/")
    return Function(
        namespace=namespace,
        name=bare,
        uid=name,
        generation=1,
        revision=REVISION,
        spec=FunctionSpec(
            container=spec.pop("container", ContainerSpec(command=("serve",))),
            gpu=spec.pop("gpu", (GpuOption(memory_mib=1024),)),
            cpu_variant=CpuVariant(container=ContainerSpec(), concurrency=concurrency) if cpu_variant else None,
            slo=spec.pop("slo", Slo(latency_us=250_000)),
            scaling=Scaling(concurrency=concurrency),
            **spec,
        ),
    )


TCP_PROBE = Probe()


def key_of(name: str) -> str:
    """The key of a function; of the namespace `ns` where none is named."""
    return name if "/" in name else f"ns/{name}"


class Request:
    """One request that a replica received."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.headers = [
            (name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:] if line)
        ]
        self._reader = reader
        self._writer = writer
        self.whole_body = asyncio.Event()
        self.body_read = 0

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    async def body(self, *, keep: bool = True) -> bytes:
        parts: list[bytes] = []
        if self.header("transfer-encoding") == "chunked":
            while size := int(await self._reader.readline(), 16):
                await self._take(size, parts, keep=keep)
                await self._reader.readline()
            await self._reader.readline()
        else:
            await self._take(int(self.header("content-length") or 0), parts, keep=keep)
        self.whole_body.set()
        return b"".join(parts)

    async def _take(self, size: int, parts: list[bytes], *, keep: bool) -> None:
        while size:
            part = await self._reader.readexactly(min(size, 65536))
            size -= len(part)
            self.body_read += len(part)
            if keep:
                parts.append(part)

    async def answer(self, body: bytes = b"ok", status: int = 200, headers: str = "") -> None:
        await self.raw(b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n" % (status, headers.encode(), len(body)) + body)

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def hang_up(self) -> None:
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Until the agent has closed the connection."""
        while await self._reader.read(65536):
            pass


Handler = Callable[[Request], Awaitable[None]]


class FakeReplica:
    """A replica in the test. Answers at once, unless `handler` says otherwise."""

    def __init__(self, handler: Handler | None = None) -> None:
        self.handler = handler
        self.seen: list[Request] = []
        self.opened = 0
        self.idle_hang_up = False
        """Close each connection after its answer without saying so."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """As if its process had ended."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def request(self, number: int) -> Request:
        """The request of that number, from 0, once it is here."""
        while len(self.seen) <= number:
            self._arrived.clear()
            await self._arrived.wait()
        return self.seen[number]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            first = True
            while head := await reader.readuntil(b"\r\n\r\n"):
                request = Request(head, reader, writer)
                if first:
                    self.opened += 1
                    first = False
                self.seen.append(request)
                self._arrived.set()
                if self.handler is not None:
                    await self.handler(request)
                else:
                    await request.body()
                    await request.answer()
                if self.idle_hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the peer left, or the test ends
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


class Gate:
    """A handler that answers each request when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self._permits = asyncio.Semaphore(0)

    async def __call__(self, request: Request) -> None:
        await request.body()
        self.waiting.append(request.target)
        await self._permits.acquire()
        await request.answer(request.target.encode())

    def let(self, count: int = 1) -> None:
        for _ in range(count):
            self._permits.release()


class Sent:
    """One request that a gateway sent."""

    def __init__(self, connection: HttpConnection) -> None:
        self.connection = connection

    async def next_head(self) -> ResponseHead:
        return await self.connection.head()

    async def dispatched(self) -> None:
        head = await self.connection.head()
        assert head.status == 102, f"not dispatched but answered {head.status}"

    async def final(self) -> "Final":
        interim = 0
        while (head := await self.connection.head()).status < 200:
            interim += 1
        body = b""
        while chunk := await self.connection.read():
            body += chunk
        self.connection.release()
        return Final(head, body, interim)

    def leave(self) -> None:
        self.connection.close()


class Final:
    def __init__(self, head: ResponseHead, body: bytes, interim: int) -> None:
        self.status = head.status
        self.headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        self.head = head
        self.body = body
        self.interim = interim

    @property
    def problem(self) -> dict[str, Any]:
        problem: dict[str, Any] = json.loads(self.body)
        return problem

    @property
    def dispatched(self) -> str:
        return self.headers["stoker-dispatched"]


class AgentUnderTest:
    """An agent with its functions, replicas and gateways."""

    def __init__(
        self,
        *devices: Device,
        queueing: str = "least-slack",
        metrics: Any = None,
        clock_us: Callable[[], int] = clock_us,
        **settings: Any,
    ) -> None:
        self.settings = NodeSettings(**({"probe_interval_s": 0.005} | settings))
        self.agent = Agent(
            devices=devices or (gpu(),),
            clock_us=clock_us,
            metrics=metrics or PrometheusSink(),
            queueing=queueing,
            settings=self.settings,
        )
        self.functions: dict[str, Function] = {}
        self.servers: list[FakeReplica] = []
        self.pool: HttpPool
        self._ids = itertools.count()

    async def start(self) -> "AgentUnderTest":
        await self.agent.start()
        self.pool = HttpPool("127.0.0.1", self.agent.port)
        return self

    async def close(self) -> None:
        await self.pool.close()
        await self.agent.stop(drain_s=0)
        for server in self.servers:
            await server.close()

    def apply(self, *functions: Function) -> None:
        self.functions |= {function.key: function for function in functions}
        self.agent.set_functions(self.functions)

    def reserve(
        self,
        name: str = "f",
        *,
        ordinal: int = 0,
        device: str = "sim-0",
        sharing: Sharing = Sharing.EXCLUSIVE,
        variant: Variant = Variant.GPU,
        memory_mib: int = 1024,
    ) -> str:
        key = key_of(name)
        spec = ReplicaSpec(
            id=replica_id(key, variant, Variant.GPU, REVISION, ordinal),
            function=key,
            variant=variant,
            revision=REVISION,
            ordinal=ordinal,
            devices=(device,),
        )
        part = Reservation(
            replica_id=spec.id,
            device_id=device,
            memory_mib=memory_mib,
            millicores=1000 if variant is Variant.CPU else 0,
            sharing=sharing,
        )
        reason = self.agent.reserve(spec, (part,))
        assert reason is None, reason
        return spec.id

    async def warm(
        self, name: str = "f", server: FakeReplica | None = None, readiness: Probe = TCP_PROBE, **where: Any
    ) -> tuple[str, FakeReplica]:
        """A warm replica: its id and its server."""
        server = server or FakeReplica()
        self.servers.append(server)
        if not server.port:
            await server.start()
        replica = self.reserve(name, **where)
        self.agent.attach(replica, "127.0.0.1", server.port, readiness)
        await self.until(lambda: self.status(replica).state is ReplicaState.WARM)
        return replica, server

    def status(self, replica: str) -> ReplicaStatus:
        return next(status for status in self.agent.replicas() if status.spec.id == replica)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)

    def queued(self, name: str = "f", variant: Variant = Variant.GPU) -> int:
        return self.agent.queued().get(key_of(name), {}).get(variant, 0)

    def head(
        self,
        target: str = "/",
        *,
        name: str = "f",
        method: str = "POST",
        objective_ms: float = 250,
        timeout_ms: float = 4000,
        late_ok: bool = True,
        variant: str | None = "gpu",
        extra: dict[str, str] | None = None,
        request_id: str | None = None,
        path: str | None = None,
    ) -> bytes:
        headers = {
            "host": "f.ns",
            "stoker-function": key_of(name),
            "stoker-request-id": request_id or f"r{next(self._ids)}",
            "stoker-objective-ms": str(objective_ms),
            "stoker-timeout-ms": str(timeout_ms),
            "stoker-late-ok": "1" if late_ok else "0",
        }
        if variant is not None:
            headers["stoker-variant"] = variant
        headers |= extra or {}
        lines = [f"{method} {path or '/v1/run' + target} HTTP/1.1"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def send(
        self, target: str = "/", body: bytes = b"", *, on: HttpConnection | None = None, **options: Any
    ) -> Sent:
        """Send a whole request on a connection of its own, or on the given one."""
        extra = dict(options.pop("extra", None) or {})
        if body:
            extra["content-length"] = str(len(body))
        connection = on or await self.pool.acquire()
        connection.start(self.head(target, extra=extra, **options), body)
        return Sent(connection)

    async def call(self, target: str = "/", body: bytes = b"", **options: Any) -> Final:
        return await (await self.send(target, body, **options)).final()

    async def admit(self, **options: Any) -> tuple[int, HttpConnection]:
        """Ask for admission: the status, and the connection that a grant holds on."""
        connection = await self.pool.connect()
        connection.start(self.head(path="/v1/admit", **options))
        status = (await connection.head()).status
        while await connection.read():
            pass
        connection.release()
        assert await self.pool.acquire() is connection
        return status, connection

    async def load(self) -> "Load":
        connection = await self.pool.connect()
        connection.start(b"GET /v1/load HTTP/1.1\r\nhost: agent\r\n\r\n")
        assert (await connection.head()).status == 200
        return Load(connection)


class Load:
    """A reader of the load stream."""

    def __init__(self, connection: HttpConnection) -> None:
        self.connection = connection
        self._buffer = b""

    async def frame(self) -> LoadFrame:
        while b"\n" not in self._buffer:
            chunk = await self.connection.read()
            if not chunk:
                raise EOFError
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return msgspec.json.decode(line, type=LoadFrame)

    async def until(self, condition: Callable[[LoadFrame], bool]) -> LoadFrame:
        while not condition(frame := await self.frame()):
            pass
        return frame
