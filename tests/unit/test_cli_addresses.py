"""Addresses are told in one sentence, and as ones that can be called."""

import errno
import socket

import pytest

from stoker_cli.addresses import binding, check_free, reachable
from stoker_cli.console import CommandFailed

pytestmark = pytest.mark.unit


def test_any_address_is_shown_as_one_that_can_be_called() -> None:
    assert [reachable(host) for host in ("127.0.0.1", "0.0.0.0", "::", "::1")] == [
        "127.0.0.1",
        "127.0.0.1",
        "[::1]",
        "[::1]",
    ]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.EADDRINUSE, "long text of asyncio"),
            "Port 80 of h is taken by another program; choose another by",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, "long text of asyncio"),
            "cannot assign requested address; choose another by --host",
        ),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "port 80: name or service not known; choose"),
    ],
)
def test_an_address_that_cannot_be_had_is_one_sentence(error: OSError, sentence: str) -> None:
    with pytest.raises(CommandFailed, match=sentence), binding("h", 80, "--port N"):
        raise error


def test_a_taken_port_is_found_before_anything_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandFailed, match=f"Port {port} of 127.0.0.1 is taken"):
            check_free("127.0.0.1", port, "--port N")
    check_free("127.0.0.1", port, "--port N")
    check_free("127.0.0.1", 0, "--port N")
