"""What has to hold after hostile bytes: refused, or passed on so that every other reader reads the same.

Pure: what was played goes in, sentences about what is wrong come out.
"""

import msgspec
from desync_parts import Form
from desync_rig import Played, is_ours
from http_readers import READERS
from strict_http import Message, Stream, cores, read_requests

from stoker.reasons import Reason
from stoker.wire.agent import ADMIT_PATH, RUN_PREFIX, Refusal
from stoker_gateway.routing import NoRoute, RoutingTable, host_name

_TABLE = RoutingTable(("ns/f",))
_PLATFORM = (b"stoker-", b"x-forwarded-")


def faults(form: Form, played: Played) -> list[str]:
    """Everything that is wrong; [] where nothing is."""
    found: list[str] = []
    served = _served(played, found)
    _against_the_client(form, served, played, found)
    for name, streams, strip in (("replica", played.to_replica, b""), ("agent", played.to_agent, RUN_PREFIX.encode())):
        for data in streams:
            _against_other_readers(name, data, found)
        passed = [cores([_without(strip, message)])[0] for message in _whole(streams) if not _is_admission(message)]
        if sorted(passed) != sorted(_routed(message) for message in served):
            found.append(f"the {name} was sent {passed}, and the client was answered for {cores(served)}")
    _spoofed(played, found)
    return found


def _served(played: Played, found: list[str]) -> list[Message]:
    """The requests that a replica answered, as the gateway read them; each answer is for its own request."""
    answers = played.answers
    if answers.problem and not (answers.incomplete and played.closed):
        found.append(f"the answers are not well-formed: {answers.problem}")
    served: list[Message] = []
    seen = iter(played.seen)
    for number, answer in enumerate(answers.messages):
        if is_ours(answer):
            reason = msgspec.json.decode(answer.body, type=Refusal).reason if answer.body else ""
            if answer.status >= 500:
                found.append(f"the platform failed: {reason}")
            if reason in (Reason.MALFORMED_REQUEST, Reason.HEADERS_TOO_LARGE) and not played.closed:
                found.append(f"refused as {reason}, but the connection goes on")
            continue
        if number >= len(played.expected.messages):
            found.append("an answer to no request")
            continue
        request = played.expected.messages[number]
        wanted = _routed(request)
        read = next(seen, None)
        if read is None or read.core != wanted:
            found.append(f"request {number} is {wanted}, the replica read {read and read.core}")
        if answer.get(b"x-seen") != b"%b %b" % wanted[:2]:
            found.append(f"answer {number} is for {answer.get(b'x-seen')!r}, the request was {wanted[:2]}")
        served.append(request)
    found += [f"the replica ran {left.core}, which was not answered" for left in seen]
    return served


def _against_the_client(form: Form, served: list[Message], played: Played, found: list[str]) -> None:
    """What the gateway served is what a strict reader of the client's own bytes reads, or is known to be tolerated."""
    strict = cores(read_requests(form.data).messages)
    odd = [m.core for m in served if m.core not in strict and m.target != b"/ns/f/sentinel"]
    if odd and not form.tolerated:
        found.append(f"tolerated: {odd}")
    if form.tolerated and not odd and not played.joined:
        found.append("not tolerated any more")
    ends = played.expected.messages[-1:] if not played.expected.problem else ()
    if ends and not played.closed and ends[0].target == b"/ns/f/sentinel" and ends[0] not in served:
        found.append("the connection goes on, but the next request on it was not served")


def _against_other_readers(where: str, data: bytes, found: list[str]) -> None:
    strict = read_requests(data)
    if strict.problem and not strict.incomplete:
        found.append(f"the {where} was sent what is not HTTP/1.1: {strict.problem}")
    for name, reader in READERS.items():
        other = reader(data)
        if _comparable(other, name) != _comparable(strict, name):
            found.append(f"the {where}'s bytes are {cores(strict.messages)}, but {name} reads {cores(other.messages)}")


def _comparable(stream: Stream, name: str) -> list[tuple[object, ...]]:
    """Requests with their fields; `forgiving` joins names that others tell apart, so only its framing counts."""
    if name == "forgiving":
        return [message.core for message in stream.messages]
    return [(*message.core, sorted(message.fields)) for message in stream.messages]


def _whole(streams: list[bytes]) -> list[Message]:
    return [message for data in streams for message in read_requests(data).messages]


def _is_admission(message: Message) -> bool:
    return message.target == ADMIT_PATH.encode()


def _without(prefix: bytes, message: Message) -> Message:
    target = message.target.removeprefix(prefix)
    return Message(message.method, target, 0, message.fields, message.body)


def _routed(message: Message) -> tuple[bytes, bytes, bytes]:
    """What the function is to see of a request that came in."""
    host = (message.get(b"host") or b"").decode("latin-1")
    route = _TABLE.route(host_name(host), message.target.decode("latin-1"))
    target = message.target if isinstance(route, NoRoute) else route.target.encode("latin-1")
    return message.method, target, message.body


def _spoofed(played: Played, found: list[str]) -> None:
    """At the replica: no Stoker-* but the request's id, one Host, and nothing that speaks of the client's hop."""
    for message in _whole(played.to_replica):
        names = [name.replace(b"_", b"-") for name, _ in message.fields]
        found += [f"the replica was sent {name!r}" for name in names if name in _HOP or _is_spoof(name)]
        found += [f"the replica was sent {name!r} twice" for name in _ONCE if names.count(name) > 1]
    for message in _whole(played.to_agent):
        names = [name.replace(b"_", b"-") for name, _ in message.fields]
        once = {name for name in names if name.startswith(b"stoker-")} | _ONCE
        found += [f"the agent was sent {name!r} twice" for name in once if names.count(name) > 1]


_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"proxy-authorization",
    )
)
_ONCE = frozenset(
    (b"host", b"content-length", b"transfer-encoding", *(p + b"for" for p in _PLATFORM[1:]), b"x-forwarded-host")
)


def _is_spoof(name: bytes) -> bool:
    return name.startswith(b"stoker-") and name != b"stoker-request-id"
