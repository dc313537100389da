"""`stoker invoke`: one request to a function, its body to stdout, and one line about it to stderr.

Finds the platform by its state file. Plain http.client: a command that lives for one request must start fast.
"""

import contextlib
import http.client
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, quote, urlsplit

import msgspec
from msgspec import Struct

from stoker.errors import InvalidObject
from stoker.model.quantity import parse_duration_us
from stoker.wire.agent import H_COLD_START, H_DEADLINE_MS, H_DEVICE, H_OUTCOME, H_SERVER_TIMING, Refusal
from stoker_cli.console import CommandFailed, listed, ms, one_line
from stoker_cli.internal_client import get_json
from stoker_cli.state_file import choose, running
from stoker_cli.state_view import FunctionView, StateView

_UNKNOWN_TIMEOUT_S = 3600.0
_GRACE_S = 30.0


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


def invoke(call: Call, environ: Mapping[str, str]) -> int:
    """Exit code: 0 for a 2xx answer, 1 for any other. Raises CommandFailed where no answer came."""
    base, known = _find(call, environ)
    key, function = _resolve(call.function, known)
    headers = _headers(call)
    target = _target(base, key, call.path)
    timeout_s = function.timeout_ms / 1000 + _GRACE_S if function is not None else _UNKNOWN_TIMEOUT_S
    if call.output is not None and call.data == f"@{call.output}":
        raise CommandFailed(f"-o {call.output} would overwrite what -d reads; name another file.")
    with _opened(call.output) as out:
        body = _body(call.data, headers)
        method = (call.method or ("GET" if body is None else "POST")).upper()
        connection = _connection(base, timeout_s)
        try:
            begin = time.monotonic()
            # Refused before all of the body was sent: the answer says why, and may already be here.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            prefix = _copy(answer, out)
            total_ms = (time.monotonic() - begin) * 1000
        except TimeoutError as err:
            raise CommandFailed(f"{base.geturl()} has not answered for {timeout_s:g} s.") from err
        except (OSError, http.client.HTTPException, ValueError) as err:
            why = one_line(str(err)) or type(err).__name__
            raise CommandFailed(f"The request to {base.geturl()}{target} got no whole answer: {why}.") from err
        finally:
            connection.close()
            if body is not None and not isinstance(body, bytes):
                body.close()
    print(summary(answer, prefix, total_ms, function, call.deadline), file=sys.stderr)
    return 0 if 200 <= answer.status < 300 else 1


def summary(
    answer: http.client.HTTPResponse,
    prefix: bytes,
    total_ms: float,
    function: FunctionView | None,
    deadline: str | None,
) -> str:
    """One line; `prefix` is the beginning of the body, where a refusal explains itself."""
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
                parts.append(f"retry after {ms(refusal.retry_after_ms)}")
    device = answer.getheader(H_DEVICE, "none")
    cold = answer.getheader(H_COLD_START, "").lower() in ("1", "true")
    if device != "none":
        parts.append(f"{'cold' if cold else 'warm'} on {device}")
    elif cold:
        parts.append("cold")
    if outcome == "served" and function is not None:
        objective_ms = function.slo.latency_ms
        if deadline is not None:
            objective_ms = min(objective_ms, parse_duration_us(deadline) / 1000)
        parts.append(f"{'on time' if total_ms <= objective_ms else 'late'} for its objective of {ms(objective_ms)}")
    if request_id := answer.getheader("stoker-request-id"):
        parts.append(f"request {request_id}")
    return "; ".join(parts)


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
        base = urlsplit(call.url.rstrip("/"))
        if base.scheme not in ("http", "https") or not base.hostname:
            raise CommandFailed(f"--url {call.url} is not an address; write it as in http://127.0.0.1:8080")
        state = next((state for state in running(environ) if state.url == base.geturl()), None)
    else:
        state = choose(environ, call.port)
        base = urlsplit(state.url)
    if state is None:
        return base, None
    body = get_json(state, "/v1/state")
    return base, msgspec.json.decode(body, type=StateView) if body is not None else None


def _resolve(name: str, known: StateView | None) -> tuple[str, FunctionView | None]:
    """`ocr` -> `default/ocr`, or the one of that name in another namespace. Raises CommandFailed for an unknown one."""
    key = name.strip("/") if "/" in name else f"default/{name}"
    if known is None:
        return key, None
    if key not in known.functions and "/" not in name:
        others = [other for other in known.functions if other.partition("/")[2] == name]
        if len(others) == 1:
            key = others[0]
    if key not in known.functions:
        has = f"its functions are {listed(sorted(known.functions))}" if known.functions else "it has no function now"
        raise CommandFailed(f"The platform at {known.url} has no function {key}; {has}.")
    return key, known.functions[key]


def _target(base: SplitResult, key: str, path: str) -> str:
    safe = "/%?&=:;,+@!$'()*~-._"  # a user writes spaces and umlauts; what is encoded already stays
    return f"{base.path}/{quote(key)}{quote('/' + path.lstrip('/'), safe=safe)}"


def _headers(call: Call) -> dict[str, str]:
    headers: dict[str, str] = {"Accept-Encoding": "identity"}
    for line in call.headers:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise CommandFailed(f"--header {line!r} is not a header; write it as in 'Name: value'")
        headers[name.strip()] = value.strip()
    if call.deadline is not None:
        try:
            deadline_us = parse_duration_us(call.deadline, "--deadline")
        except InvalidObject as err:
            raise CommandFailed(str(err)) from err
        headers[H_DEADLINE_MS.title()] = str(max(1, deadline_us // 1000))
    return headers


def _body(data: str | None, headers: dict[str, str]) -> bytes | BinaryIO | None:
    """The body to send, a file as it is; sets Content-Type and Content-Length where the user did not."""
    if data is None:
        return None
    given = {name.lower() for name in headers}
    body: bytes | BinaryIO
    if data == "@-":
        body, kind = sys.stdin.buffer.read(), "application/octet-stream"
    elif data.startswith("@"):
        try:
            body, kind = Path(data[1:]).open("rb"), "application/octet-stream"  # noqa: SIM115  closed after the call
            length = body.seek(0, 2)
            body.seek(0)
        except OSError as err:
            raise CommandFailed(f"-d {data} cannot be read: {err.strerror or err}.") from err
        headers["Content-Length"] = str(length)
    else:
        body, kind = data.encode(), "application/json" if data[:1] in ("{", "[") else "text/plain; charset=utf-8"
    if "content-type" not in given:
        headers["Content-Type"] = kind
    return body


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


def _opened(output: str | None) -> contextlib.AbstractContextManager[BinaryIO]:
    """Where the body goes: opened before anything is sent, so that a wrong name costs no request."""
    if output is None or output == "-":
        return contextlib.nullcontext(sys.stdout.buffer)
    try:
        return Path(output).open("wb")
    except OSError as err:
        raise CommandFailed(f"-o {output} cannot be written: {err.strerror or err}.") from err


def _copy(answer: http.client.HTTPResponse, out: BinaryIO) -> bytes:
    """Pass the body on as it comes; returns its beginning."""
    prefix = b""
    while chunk := answer.read1(65536):
        if len(prefix) < 65536:
            prefix += chunk
        try:
            out.write(chunk)
            out.flush()
        except OSError as err:
            raise CommandFailed(f"The answer could not be written: {err.strerror or err}.") from err
    return prefix
