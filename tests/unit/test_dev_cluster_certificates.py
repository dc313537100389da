"""The certificates of a cluster are accepted where they should be, and keys are private."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from cluster.certificates import Authority, write_private
from cluster.control_plane import ControlPlane, Ports

pytestmark = pytest.mark.unit

PORTS = Ports(api=1, etcd_client=2, etcd_peer=3, controller_manager=4, scheduler=5)


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=server)
    async with listening:
        host, port = listening.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port, ssl=client, server_hostname=name)
        await reader.read()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def server(tmp_path: Path) -> ssl.SSLContext:
    authority = Authority("test")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    pair = authority.issue("server", names=["kubernetes.default.svc", "10.96.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(tmp_path, "server"))
    return context


@pytest.mark.parametrize("name", ["kubernetes.default.svc", "10.96.0.1"])
async def test_a_server_is_accepted_under_each_of_its_names(server: ssl.SSLContext, tmp_path: Path, name: str) -> None:
    await handshake(server, ssl.create_default_context(cafile=tmp_path / "ca.crt"), name)


async def test_a_server_of_another_authority_or_name_is_not(server: ssl.SSLContext, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(server, ssl.create_default_context(cafile=tmp_path / "ca.crt"), "elsewhere")
    (tmp_path / "other.crt").write_bytes(Authority("test").certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(server, ssl.create_default_context(cafile=tmp_path / "other.crt"), "10.96.0.1")


def test_keys_and_kubeconfigs_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path / "plane", PORTS)
    plane.certificates(["node-a"])
    secret = [*plane.directory.rglob("*.key"), *plane.directory.rglob("*.kubeconfig")]
    assert len(secret) >= 8
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    assert json.loads(plane.kubeconfig("node-a").read_text())["clusters"][0]["cluster"]["server"] == plane.url


def test_writing_a_private_file_replaces_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old and longer")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["key"]
