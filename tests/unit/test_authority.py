"""Certificates come, are renewed and change hands without a moment in which one process does not trust another."""

import datetime as dt

import pytest
from cryptography import x509
from secret_store import SecretStoreForTests

from stoker.wire.cluster import CA_SECRET, K_CA, K_CERTIFICATE, K_KEY, ROLES
from stoker_operator.authority import LEAF_LIFETIME, ROOT_LIFETIME, CertificateAuthority
from stoker_runtime.kube.errors import Conflict
from stoker_runtime.mtls import make_root

pytestmark = pytest.mark.unit

DAY = dt.timedelta(days=1)
NAMES = {role.secret: role.dns_name for role in ROLES.values()}


class World:
    def __init__(self) -> None:
        self.kube = SecretStoreForTests()
        self.now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        self.authority = CertificateAuthority(self.kube, "stoker-system", lambda: self.now)

    async def after(self, time: dt.timedelta) -> list[str]:
        """What is written when it looks then."""
        self.now += time
        self.kube.writes.clear()
        await self.authority.ensure()
        return self.kube.writes

    def leaf(self, secret: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.data(secret)[K_CERTIFICATE])

    def roots(self, secret: str) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates(self.data(secret)[K_CA])

    def data(self, secret: str) -> dict[str, bytes]:
        data = self.kube.objects[secret].data
        assert data is not None
        return data

    def everybody_trusts_everybody(self) -> bool:
        def trusts(one: str, other: str) -> bool:
            for root in self.roots(one):
                try:
                    self.leaf(other).verify_directly_issued_by(root)
                except Exception:  # noqa: BLE001  whatever is wrong with it
                    continue
                return root.not_valid_before_utc <= self.now < root.not_valid_after_utc
            return False

        return all(trusts(one, other) for one in NAMES for other in NAMES)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.authority.ensure()
    return world


async def test_the_first_look_makes_a_root_and_one_certificate_for_each_role(world: World) -> None:
    assert world.kube.writes == [CA_SECRET, *NAMES]
    assert set(world.data(CA_SECRET)) == {K_CERTIFICATE, K_KEY}
    for secret, name in NAMES.items():
        assert set(world.data(secret)) == {K_CA, K_CERTIFICATE, K_KEY}
        names = world.leaf(secret).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [name]
    assert world.everybody_trusts_everybody()


async def test_a_second_look_writes_nothing(world: World) -> None:
    assert await world.after(DAY) == []


async def test_a_certificate_is_renewed_at_two_thirds_of_its_life(world: World) -> None:
    assert await world.after(LEAF_LIFETIME * 0.6) == []
    assert await world.after(LEAF_LIFETIME * 0.1) == [*NAMES]
    assert world.leaf("stoker-tls-node").not_valid_after_utc == world.now + LEAF_LIFETIME


async def test_a_new_root_is_trusted_for_a_day_before_it_signs(world: World) -> None:
    for _ in range(24):  # an operator that looks now and then, over five years
        await world.after(ROOT_LIFETIME / 37)
    old = world.roots("stoker-tls-node")[0]
    written = await world.after(ROOT_LIFETIME / 37)
    assert CA_SECRET in written
    assert len(world.roots("stoker-tls-node")) == 2
    assert {world.leaf(secret).issuer for secret in NAMES} == {old.subject}
    assert world.everybody_trusts_everybody()
    for secret in NAMES:
        world.leaf(secret).verify_directly_issued_by(old)

    del world.kube.objects["stoker-tls-node"]
    await world.after(2 * DAY)
    new = world.roots("stoker-tls-node")[0]
    assert new != old
    world.leaf("stoker-tls-node").verify_directly_issued_by(new)
    assert world.everybody_trusts_everybody()


async def test_the_old_root_goes_when_no_certificate_of_it_can_live(world: World) -> None:
    world.now += ROOT_LIFETIME * 0.67
    await world.authority.ensure()
    for _ in range(8):
        await world.after(13 * DAY)
        assert world.everybody_trusts_everybody()
    assert {len(world.roots(secret)) for secret in NAMES} == {1}
    assert set(world.data(CA_SECRET)) == {K_CERTIFICATE, K_KEY}


async def test_what_somebody_broke_is_made_new(world: World) -> None:
    before = world.leaf("stoker-tls-gateway")
    world.kube.put("stoker-tls-gateway", {K_CA: b"x", K_CERTIFICATE: b"not PEM", K_KEY: b""})
    world.kube.put(
        "stoker-tls-node", {**world.data("stoker-tls-node"), K_KEY: world.data("stoker-tls-operator")[K_KEY]}
    )
    world.kube.put("stoker-tls-scheduler", world.data("stoker-tls-operator"))
    assert await world.after(DAY) == ["stoker-tls-scheduler", "stoker-tls-node", "stoker-tls-gateway"]
    assert world.leaf("stoker-tls-gateway") != before
    assert world.everybody_trusts_everybody()


async def test_only_the_trust_is_written_where_the_certificate_may_stay(world: World) -> None:
    before = world.leaf("stoker-tls-node")
    world.kube.put("stoker-tls-node", {**world.data("stoker-tls-node"), K_CA: b"gone"})
    assert await world.after(DAY) == ["stoker-tls-node"]
    assert world.leaf("stoker-tls-node") == before


async def test_a_deleted_or_foreign_root_is_replaced_with_all_that_it_signed(world: World) -> None:
    del world.kube.objects[CA_SECRET]
    assert await world.after(DAY) == [CA_SECRET, *NAMES]
    foreign = make_root("x", world.now, DAY)
    world.kube.put(CA_SECRET, {K_CERTIFICATE: foreign.certificate, K_KEY: b"no key"})
    assert await world.after(DAY) == [CA_SECRET, *NAMES]
    assert world.everybody_trusts_everybody()


async def test_two_leaders_at_once_end_with_one_root(world: World) -> None:
    del world.kube.objects[CA_SECRET]
    real_get = world.kube.get
    other = CertificateAuthority(world.kube, "stoker-system", lambda: world.now)
    interfered = False

    async def get(resource: object, name: str, namespace: str = "") -> object:
        nonlocal interfered
        if name == CA_SECRET and not interfered:
            interfered = True
            try:
                return await real_get(resource, name, namespace)
            finally:
                await other.ensure()
        return await real_get(resource, name, namespace)

    world.kube.get = get  # type: ignore[method-assign, assignment]
    await world.authority.ensure()
    assert world.kube.writes.count(CA_SECRET) == 2  # the first of all, and one for the one that was deleted
    assert world.everybody_trusts_everybody()


async def test_a_rotation_that_another_leader_did_first_is_not_done_over_it(world: World) -> None:
    world.now += ROOT_LIFETIME * 0.67
    other = CertificateAuthority(world.kube, "stoker-system", lambda: world.now)
    real_apply = world.kube.apply

    async def apply(*args: object, **options: object) -> object:
        world.kube.apply = real_apply  # type: ignore[method-assign]
        await other.ensure()
        return await real_apply(*args, **options)  # type: ignore[arg-type]

    world.kube.apply = apply  # type: ignore[method-assign, assignment]
    with pytest.raises(Conflict):
        await world.authority.ensure()
    assert await world.after(DAY * 0) == []
    assert world.everybody_trusts_everybody()
