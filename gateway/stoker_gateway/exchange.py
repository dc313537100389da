"""One try of one request at one agent (the protocol of stoker.wire.agent), and its answer passed on to the client.

Ends in one of two ways: a Reply (the client has its answer, the books are filled in), or Bounced (nothing was
dispatched and nothing was sent to the client; the caller may go elsewhere). A cancelled try closes its connection:
that tells the agent to cancel what is queued, or to read a running answer to its end on its own.
"""

import asyncio

import msgspec
from aiohttp.web_protocol import RequestPayloadError
from msgspec import Struct

from stoker.reasons import MISSES, Outcome, Reason
from stoker.wire.agent import Refusal
from stoker_gateway.agent_link import AgentLink
from stoker_gateway.answers import CONTINUE, AgentHead, answer_head, read_agent_head, read_timing
from stoker_gateway.hop_head import admit_head, run_head
from stoker_gateway.inbound import CLOSE, KEEP, Reply
from stoker_gateway.pace import AnswerPace, BodyPace, TooSlow
from stoker_gateway.replies import Replies
from stoker_gateway.retries import Retries
from stoker_gateway.visit import VariantState, Visit
from stoker_runtime.http_client import BadAnswer, ConnectFailed, ConnectionLost, HttpConnection, ResponseHead
from stoker_runtime.http_head import LAST_CHUNK, framed

MAX_REFUSAL_BYTES = 64 * 1024
MAX_LOSSES = 3
"""Agents or replicas that a request may lose: it may be what kills them."""
_REFUSALS = msgspec.json.Decoder(Refusal)
_ELSEWHERE = MISSES | {Reason.NO_REPLICA, Reason.DRAINING}
"""Refusals of an agent after which another variant, agent or moment may do."""


class Bounced(Struct, gc=False):
    """Nothing was dispatched that may not be repeated. `reason` None: the agent could not be reached or was lost;
    ReplicaFailed: a replica of it was.
    """

    reason: Reason | None
    refusal: Refusal | None = None
    sent: bool = True
    """False: the agent did not even accept a connection."""
    spent: bool = False
    """The function's retry budget permitted no further try."""

    @property
    def lost(self) -> bool:
        """Another replica or connection may do at once."""
        return self.sent and (self.reason is None or self.reason is Reason.REPLICA_FAILED)


class Exchange:
    """See the module."""

    def __init__(self, replies: Replies, connect_s: float, retries: Retries) -> None:
        self._replies = replies
        self._retries = retries
        self._connect_s = connect_s
        self._clock_us = replies.clock_us

    async def try_at(self, link: AgentLink, visit: Visit, variant: VariantState, *, late_ok: bool) -> Reply | Bounced:
        """Run it there. Needs `visit.body`, or else streams what the client still sends."""
        sent_us, visit.closed = self._clock_us(), link.closed
        result = await self._try(link, visit, variant, late_ok=late_ok)
        has_place = visit.said is not None and visit.said.ticket
        if isinstance(result, Bounced) and result.refusal is not None and not has_place:
            visit.said, visit.said_by, visit.said_on = result.refusal, link.mark, variant.variant
        if isinstance(result, Bounced) and result.refusal is not None and result.refusal.closed_us:
            due_us = visit.objective_at_us
            link.closed.note(
                variant.key,
                variant.variant,
                result.refusal,
                objective_us=due_us - visit.arrived_us,
                # As the agent was told it: in whole milliseconds from now.
                due_us=sent_us + (due_us - sent_us) // 1000 * 1000,
                sent_us=sent_us,
                now_us=self._clock_us(),
            )
        return result

    async def _try(self, link: AgentLink, visit: Visit, variant: VariantState, *, late_ok: bool) -> Reply | Bounced:
        fresh = False
        while True:
            try:
                pool = link.pool
                connection = await (pool.connect if fresh else pool.acquire)(timeout_s=self._connect_s)
            except ConnectFailed:
                return Bounced(None, sent=False)
            try:
                if visit.body is not None:
                    return await self._inline(connection, visit, variant, visit.body, late_ok=late_ok)
                return await self._stream(connection, visit, variant, late_ok=late_ok)
            except (ConnectionLost, BadAnswer) as exc:
                if visit.too_slow:
                    return self._replies.cut(visit, Reason.BODY_TOO_SLOW, visit.too_slow)
                if visit.body_broken:
                    return self._replies.refuse(visit, Reason.MALFORMED_REQUEST, "The framing of the body is broken.")
                stale = isinstance(exc, ConnectionLost) and connection.reused and not exc.had_answer and not fresh
                if stale and not visit.dispatched and not visit.body_started and self._retries.may(visit):
                    fresh = True
                    continue
                return self._lost(visit, exc)
            finally:
                if connection.busy:
                    connection.close()

    async def _inline(
        self, connection: HttpConnection, visit: Visit, variant: VariantState, body: bytes, *, late_ok: bool
    ) -> Reply | Bounced:
        head = run_head(visit, variant, self._clock_us(), len(body), late_ok=late_ok)
        connection.start(head, body, visit.told)
        visit.body_sent = True
        result = await self._answer(connection, visit, await connection.head())
        connection.release()
        return result

    async def _stream(
        self, connection: HttpConnection, visit: Visit, variant: VariantState, *, late_ok: bool
    ) -> Reply | Bounced:
        length = visit.screened.length
        visit.body_sent = False
        connection.start(admit_head(visit, variant, self._clock_us(), length, late_ok=late_ok), on_interim=visit.told)
        head = await connection.head()
        if head.status != 200:
            result = await self._answer(connection, visit, head)
            connection.release()
            return result
        visit.redemption = head.get(b"stoker-ticket") or visit.redemption
        visit.reopen()
        while await connection.read():
            pass
        if not connection.renew():
            return Bounced(None)
        if visit.screened.expects_continue and not visit.continued:
            visit.continued = True
            visit.inbound.write(CONTINUE)
        connection.start(run_head(visit, variant, self._clock_us(), length, late_ok=late_ok), on_interim=visit.told)
        pump = asyncio.get_running_loop().create_task(self._pump(connection, visit))
        try:
            result = await self._answer(connection, visit, await connection.head())
        finally:
            pump.cancel()
            await asyncio.wait((pump,))
        if visit.body_sent:
            connection.release()
        return result

    async def _pump(self, connection: HttpConnection, visit: Visit) -> None:
        """The client's body to the agent, no faster than the agent takes it."""
        chunked = visit.screened.length < 0
        payload = visit.inbound.payload
        data, pace = visit.prefix, BodyPace()
        try:
            while True:
                if data:
                    await connection.send(framed(data) if chunked else data)
                data = await pace.read(payload)
                if not data:
                    break
                visit.body_started = True
            if chunked:
                await connection.send(LAST_CHUNK)
            visit.body_sent = True
        except RequestPayloadError:
            visit.body_broken = True
            connection.close()
        except TooSlow as exc:
            visit.too_slow = str(exc)
            connection.close()
        except (ConnectionLost, BadAnswer):
            pass  # Whoever reads the answer sees it too.
        except (ConnectionError, RuntimeError):
            connection.close()  # The client is gone; the handler is being cancelled.

    async def _answer(self, connection: HttpConnection, visit: Visit, head: ResponseHead) -> Reply | Bounced:
        read = read_agent_head(head)
        if not read.device and (read.problem or not read.dispatched):
            return await self._own_answer(connection, visit, head, read)
        visit.dispatched = True
        visit.leave_queue()
        visit.device, visit.timing, visit.cost_micro = read.device or b"none", read.timing, read.cost_micro
        visit.promise = read.promise
        visit.queue_us, visit.exec_us = read_timing(read.timing)
        visit.status, visit.first_byte_us = head.status, self._clock_us() - visit.arrived_us
        inbound = visit.inbound
        keep = self._replies.may_keep(visit) and visit.body_sent
        data, chunked = answer_head(visit, head, read, close=not keep)
        visit.head_sent = True
        pace = AnswerPace(inbound)
        try:
            body = connection.take()
            if chunked and body:
                body = framed(body)
            if connection.arrived:
                inbound.write(b"%b%b%b" % (data, body, LAST_CHUNK if chunked else b""))
            else:
                inbound.write(data + body)
                while body := await connection.read():
                    body += connection.take()
                    inbound.write(framed(body) if chunked else body)
                    await pace.taken(len(body))
                if chunked:
                    inbound.write(LAST_CHUNK)
            # The timeout is total: it ends with what the client has, not with what was written.
            await pace.taken(len(body))
        except TooSlow as exc:
            inbound.abort()
            visit.outcome, visit.reason, visit.detail = Outcome.FAILED, Reason.CLIENT_GONE, str(exc)
            return CLOSE
        except (ConnectionLost, BadAnswer):
            inbound.abort()
            visit.outcome, visit.reason = Outcome.FAILED, Reason.REPLICA_FAILED
            visit.detail = "The replica's answer broke off; the client's connection was cut."
            return CLOSE
        visit.outcome = Outcome.SERVED
        return KEEP if keep else CLOSE

    async def _own_answer(
        self, connection: HttpConnection, visit: Visit, head: ResponseHead, read: AgentHead
    ) -> Reply | Bounced:
        """The agent itself answers: a refusal, an expiry, or what became of the replica."""
        body = b""
        while chunk := await connection.read():
            body += chunk
            if len(body) > MAX_REFUSAL_BYTES:
                raise BadAnswer(f"an agent's refusal is larger than {MAX_REFUSAL_BYTES} bytes")
        try:
            refusal = _REFUSALS.decode(body)
            reason = Reason(refusal.reason)
        except (msgspec.MsgspecError, ValueError):
            if visit.inbound.message.method != "HEAD":
                raise BadAnswer(f"an agent answered {head.status} without a refusal") from None
            refusal, reason = _bodiless(head.status), _reason_of(head.status)
        if refusal.redemption:
            visit.redemption = refusal.redemption.encode()
        if reason in _ELSEWHERE and not visit.dispatched:
            return Bounced(reason, refusal)
        if reason is Reason.REPLICA_FAILED and self._may_repeat(visit) and visit.losses + 1 < MAX_LOSSES:
            visit.losses += 1
            visit.dispatched = False
            return Bounced(reason, refusal)
        if read.dispatched:
            visit.dispatched = True
            visit.timing = read.timing
            visit.queue_us, visit.exec_us = read_timing(read.timing)
        return self._replies.pass_on(visit, reason, refusal)

    def _lost(self, visit: Visit, exc: Exception) -> Reply | Bounced:
        """The agent's connection ended before an answer did."""
        if visit.dispatched:
            if not self._may_repeat(visit):
                return self._replies.unknown(visit, exc)
            visit.dispatched = False
        return Bounced(None)

    def _may_repeat(self, visit: Visit) -> bool:
        """Whether a dispatched request may run again, and can."""
        state = visit.state
        idempotent = visit.screened.idempotency_key or (state is not None and state.function.spec.idempotent)
        return bool(idempotent) and visit.body is not None


def _reason_of(status: int) -> Reason:
    """For answers to HEAD, which carry no body: the reason that their status means most often."""
    return {
        429: Reason.PREDICTED_MISS,
        503: Reason.NO_REPLICA,
        504: Reason.TIMEOUT,
        404: Reason.FUNCTION_NOT_FOUND,
        408: Reason.BODY_TOO_SLOW,
    }.get(status, Reason.REPLICA_FAILED)


def _bodiless(status: int) -> Refusal:
    return Refusal(status=status, reason=_reason_of(status).value, detail="")
