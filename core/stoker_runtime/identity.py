"""Who a process is to the other processes of Stoker on Kubernetes: its certificate, its roots, and their renewal.

The operator's leader issues one Secret per role (stoker_operator.authority); everybody else waits for theirs here,
and reads it again every minute. Contexts that were handed out are refilled in place: connections made from then on
use the new certificate, existing ones go on. A listener names the roles that it serves, and a peer of another role
does not get through the handshake.
"""

import asyncio
import datetime as dt
import ssl
from collections.abc import Collection
from typing import Protocol

import structlog
from cryptography import x509
from msgspec import Struct

from stoker.wire.cluster import K_CA, K_CERTIFICATE, K_KEY, ROLES
from stoker_runtime.background import Background
from stoker_runtime.kube.errors import KubeError, NotFound
from stoker_runtime.kube.objects import ObjectMeta, Resource
from stoker_runtime.mtls import Credential, client_context, fill, server_context

REREAD_S = 60.0
RETRY_S = 1.0
"""A process cannot do anything before its Secret is there."""
EXPIRES_SOON = dt.timedelta(days=10)
"""The operator renews a month before the end: later than this it is not doing it."""

log = structlog.get_logger(__name__)


class Secret(Struct, frozen=True, rename="camel"):
    """A Secret; its values are decoded from base64 by their type."""

    metadata: ObjectMeta
    data: dict[str, bytes] | None = None


SECRETS: Resource[Secret] = Resource("", "v1", "secrets", True, Secret)


class SecretReader(Protocol):
    """What this needs of a KubeClient (RBAC: get, by name)."""

    async def get(self, resource: Resource[Secret], name: str, namespace: str = "") -> Secret: ...


class _Unusable(ValueError):  # noqa: N818  never leaves this module
    """The Secret holds something else than a certificate of this role."""


class Identity:
    """`await load()`, then contexts; `await stop()` ends the renewal."""

    def __init__(
        self,
        kube: SecretReader,
        namespace: str,
        component: str,
        *,
        reread_s: float = REREAD_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._role = ROLES[component]
        self._reread_s = reread_s
        self._retry_s = retry_s
        self._roots = b""
        self._credential: Credential | None = None
        self._until: dt.datetime | None = None
        self._contexts: list[ssl.SSLContext] = []
        self._task = Background(f"identity {self._role.secret}")
        self._problem = ""
        self._warned_days: int | None = None

    async def load(self) -> None:
        """Wait until the Secret is there and usable, however long that takes; then keep it fresh."""
        while not await self._read():  # noqa: ASYNC110  the event is in the API server
            await asyncio.sleep(self._retry_s)
        self._task.start(self._renew_forever)

    async def stop(self) -> None:
        """Renew no more."""
        await self._task.stop()

    @property
    def problem(self) -> str:
        """Why there is no certificate yet, or no new one, in one sentence; empty when all is well."""
        return self._problem

    def server_context(self, clients: Collection[str]) -> ssl.SSLContext:
        """For a listener that serves these components and nobody else."""
        context = server_context(self._roots, self._loaded())
        context.sslobject_class = _serving_only(frozenset(clients))
        self._contexts.append(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For connections to other components; connect with `server_hostname=ROLES[component].dns_name`."""
        context = client_context(self._roots, self._loaded())
        self._contexts.append(context)
        return context

    def _loaded(self) -> Credential:
        if self._credential is None:
            raise RuntimeError("the identity was not loaded")
        return self._credential

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(self._reread_s)
            try:
                await self._read()
                self._warn_of_expiry()
            except Exception:
                # A mistake of ours must not end the renewals: a certificate that runs out ends everything.
                log.exception("identity_look_failed")

    async def _read(self) -> bool:
        """Take over what the Secret says now; False when nothing usable could be read."""
        name = f"{self._namespace}/{self._role.secret}"
        try:
            self._take(await self._kube.get(SECRETS, self._role.secret, self._namespace))
        except NotFound:
            self._say(f"The Secret {name} does not exist (yet): the operator's leader makes it.")
            return False
        except _Unusable as exc:
            self._say(f"The Secret {name} cannot be used: {exc}. Delete it, and the operator makes a new one.")
            return False
        except KubeError as exc:
            self._say(f"The Secret {name} cannot be read: {exc}")
            return False
        except OSError as exc:
            # OpenSSL takes a key from a file only, and there may be no room for one.
            self._say(f"The Secret {name} cannot be taken over: {exc}")
            return False
        self._problem = ""
        return True

    def _take(self, secret: Secret) -> None:
        data = secret.data or {}
        missing = [key for key in (K_CA, K_CERTIFICATE, K_KEY) if not data.get(key)]
        if missing:
            raise _Unusable(f"it lacks {', '.join(missing)}")
        roots, credential = data[K_CA], Credential(data[K_CERTIFICATE], data[K_KEY])
        if (roots, credential) == (self._roots, self._credential):
            return
        try:
            certificate = x509.load_pem_x509_certificate(credential.certificate)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if self._role.dns_name not in names.get_values_for_type(x509.DNSName):
                raise _Unusable(f"its certificate is not that of {self._role.dns_name}")
            # Tried on one that nobody uses: a context that is in use must not be left half filled.
            server_context(roots, credential)
        except (ValueError, ssl.SSLError, x509.ExtensionNotFound) as exc:
            raise exc if isinstance(exc, _Unusable) else _Unusable(str(exc)) from exc
        # On the loop: OpenSSL's contexts may not be changed while another thread makes connections from them.
        for context in self._contexts:
            fill(context, roots, credential)
        renewed = self._credential is not None
        self._roots, self._credential, self._until = roots, credential, certificate.not_valid_after_utc
        log.info("identity_renewed" if renewed else "identity_loaded", name=self._role.dns_name, until=str(self._until))

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("identity_waits" if self._credential is None else "identity_not_renewed", problem=problem)
        self._problem = problem

    def _warn_of_expiry(self) -> None:
        left = (self._until or dt.datetime.max.replace(tzinfo=dt.UTC)) - dt.datetime.now(dt.UTC)
        if left < EXPIRES_SOON and left.days != self._warned_days:
            self._warned_days = left.days
            log.warning("identity_expires_soon", name=self._role.dns_name, until=str(self._until))


def peer_component(ssl_object: ssl.SSLObject | None) -> str | None:
    """Which component the other end of a connection is, by its certificate; None when it showed none of ours.

    `transport.get_extra_info("ssl_object")`.
    """
    certificate = None if ssl_object is None else ssl_object.getpeercert()
    # typeshed's values of this dictionary are a union that no name could be taken out of.
    entries: tuple[tuple[str, str], ...] = (certificate or {}).get("subjectAltName", ())  # type: ignore[assignment]
    names = {name for kind, name in entries if kind == "DNS"}
    return next((component for component, role in ROLES.items() if role.dns_name in names), None)


def _serving_only(clients: frozenset[str]) -> type[ssl.SSLObject]:
    class Checked(ssl.SSLObject):
        # The ssl module has no hook for the client's certificate; asyncio and uvloop both hand shakes by this method.
        def do_handshake(self) -> None:
            super().do_handshake()
            peer = peer_component(self)
            if peer not in clients:
                raise ssl.SSLCertVerificationError(f"this listener does not serve {peer or 'strangers'}")

    return Checked
