"""What `stoker invoke` sends: headers and body as the user wrote them, checked before anything goes out.

Knows HTTP and files, and nothing of platforms and answers.
"""

import http.client
import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from stoker.model.quantity import parse_duration_us
from stoker.wire.agent import H_DEADLINE_MS
from stoker_cli.console import CommandFailed

Headers = list[tuple[str, str]]
Body = bytes | BinaryIO
"""All of it, or an open regular file."""

_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_FRAMING = ("content-length", "transfer-encoding", "connection")
_MAX_DEADLINE_MS = 999_999_999


def headers_of(lines: Sequence[str], deadline: str | None) -> Headers:
    """Those of the user, in their order, and that of the deadline. Raises a StokerError for what is none."""
    headers: Headers = []
    for line in lines:
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not _NAME.fullmatch(name) or not value.isprintable():
            raise CommandFailed(f"--header {line!r} is not a header; write it as in 'Name: value'")
        if name.lower() in _FRAMING:
            raise CommandFailed(f"--header {name}: how the body is sent is decided here; leave that header out.")
        headers.append((name, value))
    if deadline is not None:
        deadline_us = parse_duration_us(deadline, "--deadline")
        if deadline_us == 0:
            raise CommandFailed("--deadline 0 leaves no time for an answer; write it as in 200ms")
        # It may only tighten, so one beyond what the header can say is as good as the longest there is.
        headers.append((H_DEADLINE_MS.title(), str(min(max(1, deadline_us // 1000), _MAX_DEADLINE_MS))))
    return headers


def body_of(data: str | None, headers: Headers) -> Body | None:
    """The body to send, a file as it is; sets Content-Type and Content-Length where the user did not."""
    if data is None:
        return None
    body: Body
    if data == "@-":
        body, kind = sys.stdin.buffer.read(), "application/octet-stream"
    elif data.startswith("@"):
        body, kind = _file(data), "application/octet-stream"
    else:
        # What the shell handed over as bytes goes on as those bytes.
        body = data.encode(errors="surrogateescape")
        kind = "application/json" if data[:1] in ("{", "[") else "text/plain; charset=utf-8"
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", kind))
    length = len(body) if isinstance(body, bytes) else os.fstat(body.fileno()).st_size
    headers.append(("Content-Length", str(length)))
    return body


def _file(data: str) -> Body:
    """The open file, or all of a pipe: its length must be known before it is sent."""
    try:
        file = Path(data[1:]).open("rb")  # noqa: SIM115  closed after the call
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        with file:
            return file.read()
    except OSError as err:
        raise CommandFailed(f"-d {data} cannot be read: {err.strerror or err}.") from err


def send(connection: http.client.HTTPConnection, method: str, target: str, headers: Headers, body: Body | None) -> None:
    """Send one request. What the user gave goes instead of what http.client would say of itself."""
    names = {name.lower() for name, _ in headers}
    connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding="accept-encoding" in names)
    for name, value in headers:
        connection.putheader(name, value.encode())
    connection.endheaders(body)
