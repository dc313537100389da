"""Only holders of a credential of the same authority can talk to one another."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stoker_runtime.mtls import Authority, fill, make_authority

pytestmark = pytest.mark.unit

OURS = make_authority()
THEIRS = make_authority()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(await reader.readline())
        await writer.drain()
    except (ssl.SSLError, OSError):
        pass
    finally:
        writer.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=OURS.server_context())
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def say_hello(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        writer.write(b"hello\n")
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()


async def answer_or_nothing(port: int, context: ssl.SSLContext) -> bytes:
    """With TLS 1.3 a client learns of its refusal late: by an alert, a reset or an end of file, as it happens."""
    try:
        return await say_hello(port, context)
    except (ssl.SSLError, ConnectionError):
        return b""


def stranger(root: Authority) -> ssl.SSLContext:
    """Trusts the server, shows no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=root.root.decode())
    return context


async def test_a_client_of_the_same_authority_is_served_by_tls_1_3(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=OURS.client_context(), server_hostname="x")
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()


async def test_a_client_without_a_certificate_gets_nothing(port: int) -> None:
    assert await answer_or_nothing(port, stranger(OURS)) == b""


async def test_a_client_of_another_authority_gets_nothing(port: int) -> None:
    # It trusts our server, but its own certificate is signed elsewhere.
    context = THEIRS.client_context()
    context.load_verify_locations(cadata=OURS.root.decode())
    assert await answer_or_nothing(port, context) == b""


async def test_a_client_refuses_a_server_of_another_authority(port: int) -> None:
    with pytest.raises(ssl.SSLError):
        await say_hello(port, THEIRS.client_context())


async def test_a_server_credential_is_no_client_credential(port: int) -> None:
    context = stranger(OURS)
    fill(context, OURS.root, OURS.server)
    assert await answer_or_nothing(port, context) == b""


def test_no_key_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    OURS.server_context()
    assert list(tmp_path.iterdir()) == []
