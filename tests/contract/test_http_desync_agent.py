"""Desync forms against the agent's own listener, without a gateway before it.

Its peers are gateways, so it owes no answer to what breaks the protocol; but what it passes on to a replica must be
read by everybody as it read it itself, and no answer may stand where another belongs.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from agent_under_test import AgentUnderTest, function
from desync_forms import FORMS
from desync_parts import HOST, Form
from desync_peers import RecordingReplica
from desync_rig import CEILING_S, SILENCE_S, Client
from http_readers import READERS, llhttp
from strict_http import Stream, cores, read_requests

pytestmark = [pytest.mark.contract, pytest.mark.timeout(120)]

FAMILIES = frozenset(
    ("CL with TE", "TE value", "TE field", "CL", "chunk size", "chunk extension", "chunk line end", "trailer")
)
OURS = (
    b"stoker-function: ns/f\r\nstoker-variant: gpu\r\n"
    b"stoker-objective-ms: 9000\r\nstoker-timeout-ms: 9000\r\nstoker-late-ok: 1\r\n"
)
NEXT = b"GET /v1/run/sentinel HTTP/1.1\r\nhost: a\r\nstoker-request-id: next\r\n" + OURS + b"\r\n"


class Agent:
    """An agent with one recording replica."""

    def __init__(self) -> None:
        self.node = AgentUnderTest()
        self.replica = RecordingReplica()

    async def start(self) -> "Agent":
        await self.node.start()
        await self.replica.start()
        self.node.apply(function())
        await self.node.warm("f", self.replica)  # type: ignore[arg-type]  # it has a port, start() and close()
        return self

    async def play(self, data: bytes) -> tuple[Stream, Stream, bool]:
        """What the agent's parser reads, what it answered, and whether a request behind it was answered for itself."""
        self.replica.forget()
        expected = llhttp(data)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.node.agent.port)
        client = Client(reader, [message.method for message in expected.messages])
        try:
            writer.write(data)
            await client.until_read(Stream(expected.messages, expected.problem))
            answers, fine = client.answers(), True
            if not expected.problem and not client.closed:
                following = Client(reader, [b"GET"])
                writer.write(NEXT)
                # Where the bytes before end within a head this one is part of it, and nothing comes. Behind HTTP/1.0
                # and `close` it is refused.
                await following.until_closed(CEILING_S if expected.messages else SILENCE_S, count=1)
                seen = [answer.get(b"x-seen") for answer in following.answers().messages if answer.status == 200]
                fine = set(seen) <= {b"GET /sentinel"}
        finally:
            writer.transport.abort()
        await self.node.until(
            lambda: not any(s.in_flight for s in self.node.agent.replicas()) and not self.node.queued()
        )
        return expected, answers, fine


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    one = await Agent().start()
    yield one
    await one.node.close()


def faults(agent: Agent, expected: Stream, answers: Stream) -> list[str]:
    """Everything that is wrong."""
    found: list[str] = []
    if answers.problem and not answers.incomplete:
        found.append(f"the answers are not well-formed: {answers.problem}")
    served = [answer.get(b"x-seen") for answer in answers.messages if answer.get(b"stoker-dispatched") == b"1"]
    seen = [message for message in agent.replica.seen if message.target != b"/sentinel"]
    if served != [b"%b %b" % (message.method, message.target) for message in seen]:
        found.append(f"answered {served}, the replica read {cores(seen)}")
    read = [(m, t.removeprefix(b"/v1/run"), body) for m, t, body in cores(expected.messages)]
    found += [f"the replica read {message.core}, the agent {read}" for message in seen if message.core not in read]
    for stream in agent.replica.streams:
        strict = read_requests(bytes(stream))
        if strict.problem and not strict.incomplete:
            found.append(f"the replica was sent what is not HTTP/1.1: {strict.problem}")
        found += [
            f"{name} reads the replica's bytes otherwise"
            for name, reader in READERS.items()
            if cores(reader(bytes(stream)).messages) != cores(strict.messages)
        ]
    return found


def as_from_a_gateway(form: Form) -> bytes:
    """The same fault in a request that a gateway would send: the first one only, so that lengths stay what they are."""
    return form.data.replace(b" /ns/f/ ", b" /v1/run/ ", 1).replace(HOST, HOST + OURS, 1)


async def test_what_an_agent_passes_on_is_read_by_everybody_as_it_read_it(agent: Agent) -> None:
    # Underscores are the gateway's to drop: it knows what a client may not say.
    forms = [form for form in FORMS if form.family in FAMILIES and "underscore" not in form.name]
    assert len(forms) >= 100
    wrong: list[str] = []
    kept = 0
    for form in forms:
        expected, answers, fine = await agent.play(as_from_a_gateway(form))
        wrong += [f"{form.family}: {form.name}: {fault}" for fault in faults(agent, expected, answers)]
        kept += any(message.target == b"/sentinel" for message in agent.replica.seen)
        if not fine:
            wrong.append(f"{form.family}: {form.name}: the next request was not answered for itself")
    assert not wrong, "\n".join(wrong)
    assert kept > 20, "hardly a connection went on"
