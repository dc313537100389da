"""Issues and renews what Stoker's processes prove themselves with: the root in `stoker-ca`, one Secret per role.

Roots live 5 years and certificates 90 days; both are renewed at two thirds. A new root is handed out for a day before
anything is signed by it, and the one before stays trusted as long as a certificate of it may live, so that at any time
every process trusts every other. Deleting `stoker-ca` makes a new root at once (restart the pods then: a running
process forgets no root). Only the leader calls ensure(); two that do heal within a call. Reading takes RBAC `get` by
name, never `list`. Knows no process and no connection.
"""

import base64
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from stoker.wire.cluster import CA_SECRET, FIELD_MANAGER, K_CA, K_CERTIFICATE, K_KEY, L_NAME, NAME, ROLES, Role
from stoker_runtime.identity import SECRETS, Secret
from stoker_runtime.kube.client import Body
from stoker_runtime.kube.errors import AlreadyExists, NotFound
from stoker_runtime.kube.objects import Resource, Seen
from stoker_runtime.mtls import Credential, issue, make_root

ROOT_LIFETIME = dt.timedelta(days=5 * 365)
LEAF_LIFETIME = dt.timedelta(days=90)
SPREAD = dt.timedelta(days=1)
"""How long a new root is only trusted before it signs: processes read their Secrets every minute."""
RENEW_AT = 2 / 3
CHECK_S = 60.0
"""How often ensure() is due: renewal could wait, but without a Secret that somebody deleted no new pod gets ready."""

_K_PREVIOUS_CERTIFICATE, _K_PREVIOUS_KEY = "previous.crt", "previous.key"

log = structlog.get_logger(__name__)


class SecretStore(Protocol):
    """What this needs of a KubeClient."""

    async def get(self, resource: Resource[Secret], name: str, namespace: str = "") -> Secret: ...
    async def create(self, resource: Resource[Secret], body: Body, namespace: str = "") -> Secret: ...
    async def apply(
        self,
        resource: Resource[Secret],
        name: str,
        body: Body,
        namespace: str = "",
        *,
        manager: str,
        force: bool = False,
        seen: Seen | None = None,
    ) -> Secret: ...


class Roots(Struct, frozen=True):
    """What `stoker-ca` holds: the newest root, and the one before while it matters."""

    newest: Credential
    previous: Credential | None = None

    def signing(self, now: dt.datetime) -> Credential:
        """Who signs now."""
        if self.previous is None or now - _certificate(self.newest).not_valid_before_utc >= SPREAD:
            return self.newest
        return self.previous

    def bundle(self) -> bytes:
        """All that is to be trusted, PEM."""
        roots = [self.newest] if self.previous is None else [self.newest, self.previous]
        return b"".join(root.certificate.rstrip() + b"\n" for root in roots)


def next_roots(roots: Roots | None, now: dt.datetime) -> Roots:
    """What the roots should be now: the same where nothing is due."""
    if roots is None or not _in_time(roots.newest, now):
        return Roots(make_root("Stoker root", now, ROOT_LIFETIME))
    if _due(roots.newest, now):
        return Roots(make_root("Stoker root", now, ROOT_LIFETIME), roots.newest)
    previous = roots.previous
    if previous is not None:
        age = now - _certificate(roots.newest).not_valid_before_utc
        if age >= SPREAD + LEAF_LIFETIME or not _in_time(previous, now):
            return Roots(roots.newest)
    return roots


def fresh(role: Role, data: Mapping[str, bytes], roots: Roots, now: dt.datetime) -> Credential | None:
    """The role's credential where it may stay: its own, signed by a trusted root, with its key, and not due."""
    credential = Credential(data.get(K_CERTIFICATE, b""), data.get(K_KEY, b""))
    try:
        certificate = _certificate(credential)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = serialization.load_pem_private_key(credential.key, password=None)
        if (
            names.get_values_for_type(x509.DNSName) == [role.dns_name]
            and key.public_key() == certificate.public_key()
            and any(_signed_by(certificate, root) for root in (roots.newest, roots.previous) if root is not None)
            and _in_time(credential, now)
            and not _due(credential, now)
        ):
            return credential
    except (ValueError, TypeError, x509.ExtensionNotFound):
        pass  # Somebody wrote something else into it; a new one is written over that.
    return None


class CertificateAuthority:
    """`await ensure()` at once after becoming the leader, then every CHECK_S. Raises KubeError; the next call heals."""

    def __init__(self, kube: SecretStore, namespace: str, now: Callable[[], dt.datetime]) -> None:
        """`now` is the wall clock, in UTC."""
        self._kube = kube
        self._namespace = namespace
        self._now = now

    async def ensure(self) -> None:
        """Create and renew what is due."""
        now = self._now()
        roots = await self._ensure_roots(now)
        for role in ROLES.values():
            await self._ensure_role(role, roots, now)

    async def _ensure_roots(self, now: dt.datetime) -> Roots:
        while True:
            seen = await self._read(CA_SECRET)
            known = None if seen is None else _roots_in(seen)
            roots = next_roots(known, now)
            if roots == known:
                return roots
            body = _manifest(CA_SECRET, self._namespace, _content(roots))
            if seen is None:
                try:
                    await self._kube.create(SECRETS, body, self._namespace)
                except AlreadyExists:
                    continue  # Another one was first: its root is ours.
            else:
                # Over what was read only: a root that another one made meanwhile must not be lost.
                await self._kube.apply(
                    SECRETS,
                    CA_SECRET,
                    body,
                    self._namespace,
                    manager=FIELD_MANAGER,
                    force=True,
                    seen=Seen.of(seen, unchanged=True),
                )
            until = _certificate(roots.newest).not_valid_after_utc
            log.info("root_made", secret=CA_SECRET, until=str(until), keeps_previous=roots.previous is not None)
            return roots

    async def _ensure_role(self, role: Role, roots: Roots, now: dt.datetime) -> None:
        secret = await self._read(role.secret)
        data = {} if secret is None else secret.data or {}
        credential = fresh(role, data, roots, now)
        if credential is not None and data.get(K_CA) == roots.bundle():
            return
        issued = credential is None
        if credential is None:
            credential = issue(roots.signing(now), role.dns_name, now, LEAF_LIFETIME, dns_names=(role.dns_name,))
        content = {K_CA: roots.bundle(), K_CERTIFICATE: credential.certificate, K_KEY: credential.key}
        await self._kube.apply(
            SECRETS,
            role.secret,
            _manifest(role.secret, self._namespace, content),
            self._namespace,
            manager=FIELD_MANAGER,
            force=True,
        )
        until = _certificate(credential).not_valid_after_utc
        log.info("certificate_issued" if issued else "roots_handed_out", secret=role.secret, until=str(until))

    async def _read(self, name: str) -> Secret | None:
        try:
            return await self._kube.get(SECRETS, name, self._namespace)
        except NotFound:
            return None


def _roots_in(secret: Secret) -> Roots | None:
    """What the Secret holds; None where that can sign nothing, which is then replaced."""
    data = secret.data or {}
    newest = Credential(data.get(K_CERTIFICATE, b""), data.get(K_KEY, b""))
    previous = Credential(data.get(_K_PREVIOUS_CERTIFICATE, b""), data.get(_K_PREVIOUS_KEY, b""))
    if not _signs(newest):
        log.error(
            "root_unusable", secret=CA_SECRET, consequence="a new root is made; connections pause until it spreads"
        )
        return None
    return Roots(newest, previous if _signs(previous) else None)


def _content(roots: Roots) -> dict[str, bytes]:
    content = {K_CERTIFICATE: roots.newest.certificate, K_KEY: roots.newest.key}
    if roots.previous is not None:
        content |= {_K_PREVIOUS_CERTIFICATE: roots.previous.certificate, _K_PREVIOUS_KEY: roots.previous.key}
    return content


def _manifest(name: str, namespace: str, content: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {L_NAME: NAME, "app.kubernetes.io/managed-by": FIELD_MANAGER},
        },
        "data": {key: base64.b64encode(value).decode() for key, value in content.items()},
    }


def _certificate(credential: Credential) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credential.certificate)


def _signs(credential: Credential) -> bool:
    try:
        key = serialization.load_pem_private_key(credential.key, password=None)
        certificate = _certificate(credential)
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return False
    is_ours = isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key()
    return is_ours and basic.ca


def _signed_by(certificate: x509.Certificate, root: Credential) -> bool:
    try:
        certificate.verify_directly_issued_by(_certificate(root))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _in_time(credential: Credential, now: dt.datetime) -> bool:
    certificate = _certificate(credential)
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _due(credential: Credential, now: dt.datetime) -> bool:
    certificate = _certificate(credential)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begin + (end - begin) * RENEW_AT
