"""`stoker invoke`: one request to a function, its body to stdout, and one line about it to stderr.

Finds the platform by its state file. Plain http.client: a command that lives for one request must start fast.
"""

import contextlib
import http.client
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import SplitResult, quote, urlsplit

import msgspec
from msgspec import Struct

from stoker.model.quantity import parse_duration_us
from stoker.reasons import DeviceReason
from stoker.wire.agent import (
    H_CLASS,
    H_COLD_START,
    H_DEVICE,
    H_DEVICE_REASON,
    H_OUTCOME,
    H_PROMISED,
    H_SERVER_TIMING,
    H_TICKET,
    Refusal,
)
from stoker_cli.coming_back import ComeBack, told, with_ticket
from stoker_cli.console import CommandFailed, ms, one_line
from stoker_cli.internal_client import get_view, unknown_function
from stoker_cli.outgoing import Body, Headers, body_of, headers_of, send
from stoker_cli.state_file import choose, running
from stoker_cli.state_view import FunctionView, StateView

_UNKNOWN_TIMEOUT_S = 3600.0
_GRACE_S = 30.0
_USUAL = (DeviceReason.ONLY_VARIANT.value, DeviceReason.CHOSEN.value, "none", "")
"""Reasons for a device that need no words."""


class Call(Struct, frozen=True, kw_only=True):
    """What the user asked for."""

    function: str
    data: str | None = None
    deadline: str | None = None
    path: str = "/"
    method: str | None = None
    headers: tuple[str, ...] = ()
    port: int | None = None
    url: str | None = None
    output: str | None = None
    retry: str | None = None
    """For how long to come back while refused; None: not once."""


def invoke(call: Call, environ: Mapping[str, str]) -> int:
    """Exit code: 0 for a 2xx answer, 1 for any other. Raises CommandFailed where no answer came.

    BrokenPipeError: whoever read the answer left.
    """
    base, known = _find(call, environ)
    key, function = _resolve(call.function, known)
    headers = headers_of(call.headers, call.deadline)
    target = _target(base, key, call.path)
    service_class = next((value for name, value in headers if name.lower() == H_CLASS), "")
    timeout_s = function.timeout_ms / 1000 + _GRACE_S if function is not None else _UNKNOWN_TIMEOUT_S
    if call.output is not None and call.data == f"@{call.output}":
        raise CommandFailed(f"-o {call.output} would overwrite what -d reads; name another file.")
    retry_s = 0.0 if call.retry is None else parse_duration_us(call.retry, "--retry") / 1_000_000
    with _opened(call.output) as out:
        body = body_of(call.data, headers)
        method = (call.method or ("GET" if body is None else "POST")).upper()
        give_up_at = time.monotonic() + retry_s
        try:
            while True:
                sent = _Sent(base, timeout_s, method, target, headers, body)
                answer, prefix, total_ms, back = _once(sent, out, give_up_at if retry_s else None)
                line = summary(
                    answer,
                    prefix,
                    total_ms,
                    function,
                    call.deadline,
                    service_class=service_class,
                    retries=retry_s > 0,
                )
                if back is None:
                    break
                place = " with its ticket" if back.ticket else ""
                print(f"{line}; coming back in {ms(back.after_s * 1000)}{place}", file=sys.stderr, flush=True)
                time.sleep(back.after_s)
                headers = with_ticket(headers, back.ticket)
                if body is not None and not isinstance(body, bytes):
                    body.seek(0)
        finally:
            if body is not None and not isinstance(body, bytes):
                body.close()
    print(line, file=sys.stderr)
    return 0 if 200 <= answer.status < 300 else 1


class _Sent(Struct, frozen=True):
    """One try."""

    base: SplitResult
    timeout_s: float
    method: str
    target: str
    headers: Headers
    body: Body | None


def _once(
    sent: _Sent, out: BinaryIO, give_up_at: float | None
) -> tuple[http.client.HTTPResponse, bytes, float, ComeBack | None]:
    """The answer, the beginning of its body, how long it took in milliseconds, and when to come back; None: it is the
    last one, and its body went out. `give_up_at` is when no other try may begin any more; None: there is only one.
    """
    base = sent.base
    connection = _connection(base, sent.timeout_s)
    try:
        begin = time.monotonic()
        # Refused before all of the body was sent: the answer says why, and may already be here.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            send(connection, sent.method, sent.target, sent.headers, sent.body)
        answer = connection.getresponse()
        back = None if give_up_at is None else told(answer.status, answer.headers)
        if back is not None and give_up_at is not None and time.monotonic() + back.after_s <= give_up_at:
            prefix = answer.read()
        else:
            back, prefix = None, _copy(answer, out)
        return answer, prefix, (time.monotonic() - begin) * 1000, back
    except BrokenPipeError:
        raise
    except TimeoutError as err:
        raise CommandFailed(f"{base.geturl()} has not answered for {sent.timeout_s:g} s.") from err
    except (OSError, http.client.HTTPException, ValueError) as err:
        why = one_line(str(err)) or type(err).__name__
        raise CommandFailed(f"The request to {base.geturl()}{sent.target} got no whole answer: {why}.") from err
    finally:
        connection.close()


def summary(
    answer: http.client.HTTPResponse,
    prefix: bytes,
    total_ms: float,
    function: FunctionView | None,
    deadline: str | None,
    *,
    service_class: str = "",
    retries: bool = False,
) -> str:
    """One line; `prefix` is the beginning of the body, where a refusal explains itself. `service_class` is that of
    slo.classes which was asked for; `retries`: the call was made with --retry.
    """
    outcome = answer.getheader(H_OUTCOME, "")
    parts = [f"{answer.status} {outcome or answer.reason} in {ms(total_ms)}"]
    # A part of zero did not happen: nothing was started, nothing ran.
    timing = {name: value for name, value in server_timing(answer.getheader(H_SERVER_TIMING, "")).items() if value}
    if timing:
        parts[0] += " (" + ", ".join(f"{name} {ms(value)}" for name, value in timing.items()) + ")"
    if answer.getheader("content-type", "").startswith("application/problem+json"):
        try:
            refusal = msgspec.json.decode(prefix, type=Refusal)
        except msgspec.DecodeError:
            pass
        else:
            parts.append(f"{refusal.reason}: {one_line(refusal.detail).rstrip('.')}")
            if refusal.retry_after_ms is not None:
                place = ", when a place is kept for its ticket" if answer.getheader(H_TICKET) else ""
                parts.append(f"retry after {ms(refusal.retry_after_ms)}{place}" + ("" if retries else " (--retry 30s)"))
    device = answer.getheader(H_DEVICE, "none")
    cold = answer.getheader(H_COLD_START, "").lower() in ("1", "true")
    if device != "none":
        why = answer.getheader(H_DEVICE_REASON, "")
        parts.append(f"{'cold' if cold else 'warm'} on {device}" + ("" if why in _USUAL else f" ({why})"))
    elif cold:
        parts.append("cold")
    if outcome == "served" and function is not None:
        objective_ms = function.classes.get(service_class, function.slo.latency_ms)
        if deadline is not None:
            objective_ms = min(objective_ms, parse_duration_us(deadline) / 1000)
        parts.append(f"{'on time' if total_ms <= objective_ms else 'late'} for its objective of {ms(objective_ms)}")
    if promise := promised(answer.getheader(H_PROMISED, "")):
        parts.append(f"{promise} from its start on" if cold else promise)
    if request_id := answer.getheader("stoker-request-id"):
        parts.append(f"request {request_id}")
    return "; ".join(parts)


def promised(text: str) -> str:
    """`predicted=35.2, latest=52.0` -> "promised within 52 ms"; empty for what has another form."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        name, _, value = part.partition("=")
        if name == "latest":
            try:
                within = ms(float(value))
            except (ValueError, OverflowError):
                return ""
            return f"{'estimated' if 'estimated' in parts else 'promised'} within {within}"
    return ""


def server_timing(text: str) -> dict[str, float]:
    """`queue;dur=1.2, exec;dur=30` -> {"queue": 1.2, "exec": 30.0}; what has another form is left out."""
    found: dict[str, float] = {}
    for entry in text.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "dur":
                try:
                    found[name] = float(value)
                except ValueError:
                    continue
    return found


def _find(call: Call, environ: Mapping[str, str]) -> tuple[SplitResult, StateView | None]:
    """The base URL to call, and what its platform says of itself where that can be asked."""
    if call.url is not None:
        base = _address(call.url)
        state = next((state for state in running(environ) if state.url == base.geturl()), None)
    else:
        state = choose(environ, call.port)
        base = urlsplit(state.url)
    return base, None if state is None else get_view(state)


def _address(url: str) -> SplitResult:
    try:
        base = urlsplit(url.rstrip("/"))
        fits = base.scheme in ("http", "https") and base.hostname and base.port != 0
    except ValueError:  # brackets that do not match, a port that is no number
        fits = False
    if not fits or base.username is not None or base.query or base.fragment:
        raise CommandFailed(f"--url {url} is not the address of a gateway; write it as in http://127.0.0.1:8080")
    return base


def _resolve(name: str, known: StateView | None) -> tuple[str, FunctionView | None]:
    """The key of the function and how it stands, where that can be asked. Raises CommandFailed for an unknown one."""
    if known is None:
        return name.strip("/") if "/" in name else f"default/{name}", None
    key = known.key_of(name)
    if key is None:
        raise unknown_function(known.url, name, known.functions)
    return key, known.functions[key]


def _target(base: SplitResult, key: str, path: str) -> str:
    safe = "/%?&=:;,+@!$'()*~-._"  # a user writes spaces and umlauts; what is encoded already stays
    return f"{base.path}/{quote(key)}{quote('/' + path.lstrip('/'), safe=safe)}"


def _connection(base: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if base.scheme == "https" else http.client.HTTPConnection
    connection = kind(base.hostname or "", base.port, timeout=10.0)
    try:
        connection.connect()
    except OSError as err:
        raise CommandFailed(f"{base.geturl()} cannot be reached: {err.strerror or err}.") from err
    connection.sock.settimeout(timeout_s)
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


@contextlib.contextmanager
def _opened(output: str | None) -> Iterator[BinaryIO]:
    """Where the body goes: opened before anything is sent, so that a wrong name costs no request."""
    if output is None or output == "-":
        yield sys.stdout.buffer
        return
    try:
        file = Path(output).open("wb", buffering=0)  # noqa: SIM115  closed below
    except OSError as err:
        raise CommandFailed(f"-o {output} cannot be written: {err.strerror or err}.") from err
    with file:
        yield cast("BinaryIO", file)


def _copy(answer: http.client.HTTPResponse, out: BinaryIO) -> bytes:
    """Pass the body on as it comes; returns its beginning."""
    prefix = b""
    while chunk := answer.read1(65536):
        if len(prefix) < 65536:
            prefix += chunk
        try:
            rest = memoryview(chunk)
            while rest:
                rest = rest[out.write(rest) :]
            out.flush()
        except BrokenPipeError:
            raise
        except OSError as err:
            raise CommandFailed(f"The answer could not be written: {err.strerror or err}.") from err
    return prefix
