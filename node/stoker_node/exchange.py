"""One dispatched call: the hop to the replica, its answer streamed back, and the slot freed at the true end.

The hop outlives the wish for its answer: after a timeout or a disconnect what the replica still sends is read and
discarded. A half answer never looks whole: where the replica fails midway the gateway's connection is aborted.
"""

import asyncio
from collections.abc import Callable

import structlog

from stoker.reasons import Reason
from stoker.wire.agent import BODY_RATE_BYTES, H_COST_MICRO, refuse
from stoker_node.answers import answer_lines, promise_of
from stoker_node.call import Call
from stoker_node.config import NodeSettings
from stoker_node.data_server import DataConnection
from stoker_node.dispatch import Dispatcher
from stoker_node.replica_table import Replica
from stoker_runtime.http_client import BadAnswer, ConnectFailed, ConnectionLost, HttpConnection, ResponseHead
from stoker_runtime.http_head import LAST_CHUNK, framed

log = structlog.get_logger(__name__)

_BODILESS = (204, 304)
_COST_MICRO = H_COST_MICRO.encode()


class Exchange:
    """Runs dispatched calls. `suspend` is told of a replica that refuses connections."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        clock_us: Callable[[], int],
        settings: NodeSettings,
        suspend: Callable[[Replica], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._clock_us = clock_us
        self._settings = settings
        self._suspend = suspend

    async def run(self, call: Call, replica: Replica) -> None:
        """Calls Dispatcher.ended() or .requeue() exactly once, whatever happens."""
        profile = requeue = False
        try:
            status = await self._run(call, replica)
            profile = status is not None and status < 500
        except ConnectFailed as err:
            self._suspend(replica)
            requeue = call.connection is not None and call.requeues < self._settings.requeue_limit
            if not requeue:
                _fail(call, Reason.REPLICA_FAILED, f"the replica accepts no connection ({err})")
        except ConnectionLost as err:
            _fail(call, Reason.REPLICA_FAILED, f"the replica ended the connection before its answer ({err})")
        except BadAnswer as err:
            _fail(call, Reason.BAD_REPLICA_ANSWER, str(err))
        except asyncio.CancelledError:
            _fail(call, Reason.REPLICA_FAILED, "the work was ended from this side")
        except Exception as err:
            # A defect of ours must cost this call only, and never its slot.
            log.exception("exchange_failed", function=call.flow.function, request_id=call.request.id)
            _fail(call, Reason.REPLICA_FAILED, f"the agent failed: {err!r}")
        finally:
            if call.hop is not None:
                call.hop.close()
                call.hop = None
            if requeue:
                self._dispatcher.requeue(call)
            else:
                self._dispatcher.ended(call, profile=profile)

    async def _run(self, call: Call, replica: Replica) -> int | None:
        """The status of the answer; None where the work was given up from this side before one."""
        assert replica.pool is not None, "a replica is warm only once it was attached"
        hop = call.hop = await replica.pool.acquire(timeout_s=self._settings.replica_connect_s)
        if call.connection is None:
            return None  # the gateway left, or was told of the timeout, before anything was sent
        # Only now: until 102 the gateway may go elsewhere, and a replica that accepts no connection is no dispatch.
        call.acknowledged = True
        call.connection.acknowledge()
        if call.body_complete:
            hop, head = await self._send_whole(call, replica, hop, call.take_body())
            pump = None
        else:
            framing = (
                b"transfer-encoding: chunked\r\n\r\n"
                if call.chunked
                else b"content-length: %d\r\n\r\n" % (call.content_length or 0)
            )
            hop.start(call.head + framing)
            pump = asyncio.get_running_loop().create_task(self._pump(call, hop))
            head = await _final_head(hop)
        try:
            await self._answer(call, replica, hop, head)
        finally:
            if pump is not None:
                pump.cancel()
        # Its buffered bytes are read, so a connection that is released here is clean.
        if call.body_sent:
            hop.release()
            call.hop = None
        return head.status

    async def _send_whole(
        self, call: Call, replica: Replica, hop: HttpConnection, body: bytes
    ) -> tuple[HttpConnection, ResponseHead]:
        """Send a complete request and wait for its head; once more on a fresh connection if an idle one was stale.

        From here a connection that was stale and a replica that died of the request look the same, so only what may
        run twice is sent twice. Most stale connections are known to the kernel and never come out of the pool.
        """
        assert replica.pool is not None
        if body or call.content_length is not None or call.chunked:
            request = call.head + b"content-length: %d\r\n\r\n" % len(body)
        else:
            request = call.head + b"\r\n"
        while True:
            if call.failure is not None:
                raise ConnectionLost("it was closed on this side", had_answer=False)
            hop.start(request, body)
            call.body_sent = True
            try:
                return hop, await _final_head(hop)
            except ConnectionLost as err:
                if not hop.reused or err.had_answer or call.failure is not None or not call.repeatable:
                    raise
            hop.close()
            try:
                hop = call.hop = await replica.pool.connect(timeout_s=self._settings.replica_connect_s)
            except ConnectFailed as err:
                # Something was sent on the connection before: no longer a request that may be queued again.
                raise ConnectionLost(str(err), had_answer=False) from err

    async def _answer(self, call: Call, replica: Replica, hop: HttpConnection, head: ResponseHead) -> None:
        """Stream the answer to the gateway, or discard it where nobody waits any more."""
        connection = call.connection
        if connection is not None:
            lines = answer_lines(
                head,
                device=replica.device.device.label.encode("latin-1", "replace"),
                queue_us=call.dispatched_us - call.request.arrival_us,
                exec_us=self._clock_us() - call.dispatched_us,
                promise=promise_of(call.request, estimated=call.estimated),
            )
            if not call.body_complete:
                lines.append(b"connection: close\r\n")
            call.head_sent = True
            if head.status in _BODILESS or call.head.startswith(b"HEAD "):
                if head.content_length is not None and head.status not in _BODILESS:
                    lines.append(b"content-length: %d\r\n" % head.content_length)
                chunked = False
                body = b""
            elif hop.arrived:
                chunked = False
                body = hop.take()
                lines.append(b"content-length: %d\r\n" % len(body))
                if replica.charge is not None and (cost := replica.charge.so_far(call, self._clock_us())):
                    lines.append(b"%b: %d\r\n" % (_COST_MICRO, cost))
            else:
                chunked = head.content_length is None
                body = hop.take()
                if chunked:
                    lines.append(b"transfer-encoding: chunked\r\n")
                    body = framed(body) if body else b""
                else:
                    lines.append(b"content-length: %d\r\n" % (head.content_length or 0))
            lines.append(b"\r\n")
            lines.append(body)
            connection.write(b"".join(lines))
            if not hop.ended:
                await self._stream(call, hop, connection, chunked=chunked)
            self._finish(call)
        if not hop.ended:
            while await hop.read():
                pass

    async def _stream(self, call: Call, hop: HttpConnection, connection: DataConnection, *, chunked: bool) -> None:
        """The rest of an answer that comes bit by bit. Ends early when the gateway goes."""
        while chunk := await hop.read():
            # What else has come is sent with it: one write for many small pieces.
            chunk += hop.take()
            if call.connection is None:
                return
            connection.write(framed(chunk) if chunked else chunk)
            if connection.write_paused:
                await connection.writable()
        if chunked and call.connection is not None:
            connection.write(LAST_CHUNK)

    def _finish(self, call: Call) -> None:
        connection = call.connection
        if connection is not None:
            call.connection = None
            connection.finish(call)

    async def _pump(self, call: Call, hop: HttpConnection) -> None:
        """Send the body as it comes, and end the call when it comes too slowly for too long."""
        window_s = self._settings.body_window_s
        loop = asyncio.get_running_loop()
        waited_s, mark = 0.0, call.body_received
        try:
            while True:
                if call.body:
                    chunk = call.take_body()
                    await hop.send(framed(chunk) if call.chunked else chunk)
                elif call.body_complete:
                    if call.chunked:
                        await hop.send(LAST_CHUNK)
                    call.body_sent = True
                    return
                else:
                    # Only time spent waiting for the client counts: a replica that reads slowly is not its fault.
                    began_s = loop.time()
                    await call.more_body(window_s - waited_s)
                    waited_s += loop.time() - began_s
                    if waited_s >= window_s:
                        if call.body_received - mark < BODY_RATE_BYTES * window_s and not call.body_complete:
                            detail = f"the body came at less than {BODY_RATE_BYTES} bytes/s over {window_s:g} s"
                            call.close_hop(Reason.BODY_TOO_SLOW, detail)
                            return
                        waited_s, mark = 0.0, call.body_received
        except ConnectionLost:
            return  # whoever waits for the answer meets it too and says so


async def _final_head(hop: HttpConnection) -> ResponseHead:
    """The final head: interim answers of a replica are not the gateway's concern."""
    while (head := await hop.head()).status < 200:
        pass
    return head


def _fail(call: Call, reason: Reason, detail: str) -> None:
    """Answer for a run that failed: why this side closed the connection counts for more than that it broke."""
    connection = call.connection
    if connection is None:
        return
    if call.head_sent:
        connection.abort()
        return
    call.connection = None
    reason, detail = call.failure or (reason, detail)
    connection.refuse(call, refuse(reason, detail, connection.request_id), dispatched=call.acknowledged)
