"""Who may talk to whom by the certificates of the roles, and renewal under open listeners."""

import asyncio
import datetime as dt
import errno
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop
from secret_store import SecretStoreForTests

from stoker.wire.cluster import K_CA, K_CERTIFICATE, K_KEY, ROLES
from stoker_runtime import identity as identity_module
from stoker_runtime.identity import Identity, peer_component
from stoker_runtime.kube.errors import ServerFailed
from stoker_runtime.mtls import Credential, issue, make_root

pytestmark = pytest.mark.unit

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
ROOT = make_root("root", NOW, 30 * DAY)


def issued(
    component: str, root: Credential = ROOT, *, trust: bytes = b"", lifetime: dt.timedelta = 20 * DAY
) -> dict[str, bytes]:
    name = ROLES[component].dns_name
    credential = issue(root, name, NOW, lifetime, dns_names=(name,))
    return {K_CA: trust or root.certificate, K_CERTIFICATE: credential.certificate, K_KEY: credential.key}


@pytest.fixture
def kube() -> SecretStoreForTests:
    store = SecretStoreForTests()
    for component, role in ROLES.items():
        store.put(role.secret, issued(component))
    return store


Identities = Callable[[str], Identity]


@pytest.fixture
async def of(kube: SecretStoreForTests) -> AsyncIterator[Identities]:
    made: list[Identity] = []

    def make(component: str) -> Identity:
        made.append(Identity(kube, "stoker-system", component, reread_s=0.01, retry_s=0.01))
        return made[-1]

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    yield make
    for identity in made:
        await identity.stop()


async def listen(context: ssl.SSLContext) -> tuple[asyncio.Server, int]:
    async def name_the_peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{peer_component(writer.get_extra_info('ssl_object'))}\n".encode())
        writer.close()

    server = await asyncio.start_server(name_the_peer, "127.0.0.1", 0, ssl=context)
    return server, server.sockets[0].getsockname()[1]


async def ask(port: int, context: ssl.SSLContext, component: str = "node") -> str:
    """What the listener calls us; empty when it hung up on us. With TLS 1.3 a client learns that late."""
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=ROLES[component].dns_name
        )
    except (ssl.SSLError, ConnectionError):
        return ""
    try:
        return (await reader.readline()).decode().strip()
    except (ssl.SSLError, ConnectionError):
        return ""
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def check_roles(of: Identities) -> None:
    node, gateway, operator = of("node"), of("gateway"), of("operator")
    for identity in (node, gateway, operator):
        await identity.load()
    server, port = await listen(node.server_context({"gateway", "scheduler"}))
    assert await ask(port, gateway.client_context()) == "gateway"
    assert await ask(port, operator.client_context()) == ""
    assert await ask(port, node.client_context()) == ""
    server.close()


async def test_a_listener_serves_the_roles_that_it_names_and_no_other(of: Identities) -> None:
    await check_roles(of)


def test_uvloop_shakes_hands_by_the_same_rule(kube: SecretStoreForTests) -> None:
    async def check() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        made: list[Identity] = []

        def of(component: str) -> Identity:
            made.append(Identity(kube, "stoker-system", component))
            return made[-1]

        await check_roles(of)
        for identity in made:
            await identity.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(check())


async def test_a_client_turns_away_from_a_server_of_another_role(of: Identities) -> None:
    gateway = of("gateway")
    await gateway.load()
    server, port = await listen(gateway.server_context({"gateway"}))
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(
            "127.0.0.1", port, ssl=gateway.client_context(), server_hostname=ROLES["node"].dns_name
        )
    server.close()


async def test_load_waits_for_the_secret_and_says_what_for(kube: SecretStoreForTests, of: Identities) -> None:
    secret = kube.objects.pop("stoker-tls-node")
    node = of("node")
    loading = asyncio.create_task(node.load())
    await until(lambda: "does not exist (yet)" in node.problem)
    kube.fail = ServerFailed("get", 500, "", "broken")
    await until(lambda: "cannot be read" in node.problem)
    kube.fail = None
    kube.put("stoker-tls-node", issued("gateway"))
    await until(lambda: "is not that of node.stoker.internal" in node.problem)
    kube.put("stoker-tls-node", {K_CA: b"x"})
    await until(lambda: "lacks tls.crt, tls.key" in node.problem)
    kube.put("stoker-tls-node", {**issued("node"), K_KEY: issued("node")[K_KEY]})
    await until(lambda: "cannot be used" in node.problem and "lacks" not in node.problem)
    assert not loading.done()
    kube.put("stoker-tls-node", secret.data or {})
    await loading
    assert node.problem == ""


async def test_open_listeners_and_clients_go_over_to_a_new_root(kube: SecretStoreForTests, of: Identities) -> None:
    node, gateway = of("node"), of("gateway")
    await node.load()
    await gateway.load()
    serving, calling = node.server_context({"gateway"}), gateway.client_context()
    server, port = await listen(serving)
    assert await ask(port, calling) == "gateway"

    new = make_root("root", NOW, 30 * DAY)
    both = new.certificate + ROOT.certificate
    kube.put("stoker-tls-gateway", issued("gateway", new, trust=both))
    kube.put("stoker-tls-node", issued("node", ROOT, trust=both))
    reads = kube.reads
    await until(lambda: kube.reads >= reads + 6)
    assert await ask(port, calling) == "gateway"
    kube.put("stoker-tls-node", issued("node", new, trust=new.certificate))
    reads = kube.reads
    await until(lambda: kube.reads >= reads + 6)
    assert await ask(port, calling) == "gateway"
    server.close()


async def test_a_secret_that_turns_bad_changes_nothing(kube: SecretStoreForTests, of: Identities) -> None:
    node, gateway = of("node"), of("gateway")
    await node.load()
    await gateway.load()
    server, port = await listen(node.server_context({"gateway"}))
    kube.put("stoker-tls-node", {K_CA: b"junk", K_CERTIFICATE: b"junk", K_KEY: b"junk"})
    await until(lambda: "cannot be used" in node.problem)
    assert await ask(port, gateway.client_context()) == "gateway"
    server.close()
    del kube.objects["stoker-tls-node"]
    await until(lambda: "does not exist" in node.problem)


async def test_a_disk_that_is_full_for_a_while_ends_no_renewal(
    kube: SecretStoreForTests, of: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = of("node")
    await node.load()
    before = node._credential

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(identity_module, "server_context", full)
        kube.put("stoker-tls-node", issued("node"))
        await until(lambda: "No space left" in node.problem)
    await until(lambda: node.problem == "")
    assert node._credential != before


async def test_a_defect_in_one_look_ends_no_renewal(
    kube: SecretStoreForTests, of: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = of("node")
    await node.load()

    def broken() -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(node, "_warn_of_expiry", broken)
        reads = kube.reads
        await until(lambda: kube.reads >= reads + 3)


async def test_contexts_before_load_are_a_mistake(of: Identities) -> None:
    with pytest.raises(RuntimeError, match="not loaded"):
        of("node").client_context()
