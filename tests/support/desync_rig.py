"""A real gateway before a real agent before a replica that keeps every byte it gets, for hostile bytes from a client.

Between gateway and agent stands a tap that keeps what the gateway sent. `play()` sends one byte string on one client
connection, reads what comes back with the strict reader, and says what each hop saw of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import cast

from agent_under_test import AgentUnderTest, clock_us, function
from desync_peers import RecordingReplica, Tap
from gateway_fake_agent import CountingSink
from http_readers import as_the_gateway
from msgspec import Struct
from strict_http import Message, Stream, read_answers

from stoker.model.function import Variant
from stoker_gateway.config import AgentAddress, GatewaySettings
from stoker_gateway.gateway import Gateway
from stoker_gateway.inbound import Connection

SENTINEL = b"GET /ns/f/sentinel HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
"""The next user's request: it must be answered for itself."""
SILENCE_S = 0.03
"""How long an answer is waited for where the gateway may rightly wait for the rest of a request."""
CEILING_S = 15.0
TIMEOUT_US = 10_000_000
"""Of the function: less than the ceiling, so that what waits for a replica is answered by the platform."""


class Played(Struct):
    """What became of one byte string."""

    joined: bool
    """The sentinel came in the same segment."""
    expected: Stream
    """As the gateway's own parser reads it, the sentinel behind it included."""
    answers: Stream
    """What the client read, by the strict reader."""
    closed: bool
    """The gateway ended the connection, or said that it does."""
    seen: list[Message]
    """What the replica read."""
    to_replica: list[bytes]
    """What came on each of its connections."""
    to_agent: list[bytes]


class DesyncRig:
    """`await start()`, `await play(...)`, `await close()`."""

    def __init__(self) -> None:
        self.node = AgentUnderTest()
        self.replica = RecordingReplica()
        self.tap = Tap()
        self.gateway = Gateway(
            clock_us=clock_us,
            metrics=CountingSink(),
            settings=GatewaySettings(hangup_poll_s=0.05, lingering_s=0.05),
            on_record=lambda _record: None,
            why_waiting=lambda _key: "It waits.",
        )

    async def start(self) -> "DesyncRig":
        await self.node.agent.start()
        await self.tap.start(self.node.agent.port)
        await self.replica.start()
        await self.gateway.start("127.0.0.1", 0, [AgentAddress("127.0.0.1", self.tap.port)])
        applied = function(timeout_us=TIMEOUT_US)
        self.node.apply(applied)
        self.gateway.set_functions({applied.key: applied})
        await self.node.warm("f", self.replica)  # type: ignore[arg-type]  # it has a port, start() and close()
        await self.node.until(lambda: self.gateway._view.warm("ns/f", Variant.GPU) > 0)
        return self

    async def close(self) -> None:
        await self.gateway.stop(drain_s=0)
        await self.tap.close()
        await self.node.agent.stop(drain_s=0)
        await self.replica.close()

    async def play(self, data: bytes, *, joined: bool) -> Played:
        """Send it, and the sentinel behind it: in the same segment, or once everything before was answered."""
        self.replica.forget()
        self.tap.forget()
        alone = as_the_gateway(data)
        both = as_the_gateway(data + SENTINEL) if joined else as_the_gateway(data, SENTINEL)
        expected = both if joined else alone
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        client = Client(reader, [message.method for message in both.messages])
        try:
            writer.write(data + SENTINEL if joined else data)
            await client.until_read(expected)
            if not (joined or alone.problem or client.closed):
                expected = both
                writer.write(SENTINEL)
                await client.until_read(both, beyond=len(alone.messages))
            await client.settle()
        finally:
            writer.transport.abort()
        await self._at_rest()
        return Played(
            joined=joined,
            expected=expected,
            answers=client.answers(),
            closed=client.closed,
            seen=list(self.replica.seen),
            to_replica=[bytes(stream) for stream in self.replica.streams if stream],
            to_agent=self.tap.requests(),
        )

    async def call_in_pieces(self, segments: Sequence[bytes]) -> Stream:
        """Send well-formed requests in these segments: the answers to all of them, or to those before the end."""
        wanted = as_the_gateway(*segments)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        client = Client(reader, [message.method for message in wanted.messages])
        try:
            for number, segment in enumerate(segments):
                writer.write(segment)
                await client.until_read(as_the_gateway(*segments[: number + 1]))
            return client.answers()
        finally:
            writer.transport.abort()

    async def everything(self, data: bytes) -> bytes:
        """Whatever the gateway sends until it ends the connection, which it must."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        got = b""
        try:
            writer.write(data)
            async with asyncio.timeout(CEILING_S):
                with contextlib.suppress(ConnectionError):
                    while part := await reader.read(65536):
                        got += part
            return got
        finally:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def kept_open(self, data: bytes) -> AsyncIterator[Connection]:
        """The gateway's side of a connection on which this one request was answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        client = Client(reader, [b"POST"])
        writer.write(data)
        await client.until_read(Stream((Message(),)))
        assert not client.closed
        await self._at_rest()
        assert self.gateway._server is not None
        (connection,) = self.gateway._server.connections
        yield cast(Connection, connection)
        writer.transport.abort()

    async def attack(self, method: bytes, answer: bytes, *, closes: bool) -> tuple[Stream, Stream]:
        """Let the replica answer a request with these bytes: what the client reads, and what the next one reads."""
        self.replica.scripted = answer, closes
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        client = Client(reader, [method])
        try:
            writer.write(b"%b /ns/f/attack HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % method)
            await client.until_read(Stream((Message(),)))
            first = client.answers()
            if client.closed:
                writer.transport.abort()
                reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
            client = Client(reader, [b"GET"])
            writer.write(SENTINEL)
            await client.until_read(Stream((Message(),)))
            # What else would come comes with the answer to this one, at the latest.
            await self._at_rest()
            return first, client.answers()
        finally:
            writer.transport.abort()

    async def _at_rest(self) -> None:
        """Until no request is under way anywhere, so that what comes later is not this one's."""
        await self.node.until(lambda: not self.gateway._live and not self._busy())

    def _busy(self) -> bool:
        return any(status.in_flight for status in self.node.agent.replicas()) or self.node.queued() > 0


class Client:
    """Reads answers on one connection as they come."""

    def __init__(self, reader: asyncio.StreamReader, methods: list[bytes]) -> None:
        self._reader = reader
        # What the parser refused is answered too, and what it was cannot be known.
        self._methods = [*methods, b"GET"]
        self._data = b""
        self._eof = False

    @property
    def closed(self) -> bool:
        """Nothing more will come: it ended, or the last answer said so."""
        messages = self.answers().messages
        return self._eof or (bool(messages) and messages[-1].get(b"connection") == b"close")

    @property
    def _broken(self) -> bool:
        """What came is no answer, whatever comes behind it."""
        answers = self.answers()
        return bool(answers.problem) and not answers.incomplete

    def answers(self) -> Stream:
        """What has come by now."""
        return read_answers(self._data, self._methods, closed=self._eof)

    async def until_read(self, expected: Stream, *, beyond: int = 0) -> None:
        """Until everything that makes a request was answered, or the connection ended. Of a request that does not end
        (as one that is not even begun at `beyond`) nothing is expected.
        """
        if expected.problem:
            await self.until_closed(SILENCE_S if expected.incomplete else CEILING_S)
        elif beyond and len(expected.messages) == beyond:
            await self.until_closed(SILENCE_S)
        else:
            await self._until(len(expected.messages))

    async def _until(self, count: int) -> None:
        async with asyncio.timeout(CEILING_S):
            while not (self.closed or self._broken) and len(self.answers().messages) < count:
                await self._read()

    async def until_closed(self, ceiling_s: float, *, count: int = 1000) -> None:
        """Until the connection ended or so many answers are here, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ceiling_s):
                while not self.closed and len(self.answers().messages) < count:
                    await self._read()

    async def settle(self) -> None:
        """Where the gateway said that it closes: until it did, so that nothing is overlooked behind the answer."""
        if self.closed and not self._eof:
            async with asyncio.timeout(CEILING_S):
                while not self._eof:
                    await self._read()

    async def _read(self) -> None:
        try:
            data = await self._reader.read(65536)
        except ConnectionError:
            data = b""
        self._data += data
        self._eof = self._eof or not data


def is_ours(answer: Message) -> bool:
    """The platform itself answered: no replica saw the request."""
    return answer.all(b"stoker-outcome") != [b"served"]
