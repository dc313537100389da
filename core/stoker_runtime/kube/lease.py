"""Leader election on a coordination.k8s.io/v1 Lease: at most one of several replicas acts.

As in client-go: the record is taken over when it has not changed for its whole duration *as seen from here*, so that
the clocks of two machines need not agree. The holder stops believing in itself earlier than that by its own clock,
counted from before its last renewal was sent. Knows nothing of what the leader does.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import structlog
from msgspec import Struct

from stoker_runtime.background import Background
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.clock import micro_time, monotonic_us
from stoker_runtime.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from stoker_runtime.kube.objects import ObjectMeta, Resource

log = structlog.get_logger(__name__)

_SECOND_US = 1_000_000


class LeaseSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Struct, frozen=True):
    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()


LEASES: Resource[Lease] = Resource("coordination.k8s.io", "v1", "leases", namespaced=True, type=Lease)


class LeaseTiming(Struct, frozen=True, kw_only=True):
    """The trade between how soon a dead leader is replaced and how long an API outage a live one survives."""

    duration_s: int = 15
    """Others wait so long after the last change that they saw. Whole seconds: the API has no others."""
    renew_deadline_s: float = 10.0
    """Without a renewal for so long, the leader stops. Less than the duration by more than two clocks drift."""
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_s < self.renew_deadline_s < self.duration_s:
            raise ValueError("a lease needs retry_s < renew_deadline_s < duration_s")


class Elector:
    """One candidate. `start()`; `acquired` is set when it leads, `lost` when it no longer does, and then it is over:
    the process should exit, so that nothing of its time as leader lives on.
    """

    def __init__(
        self,
        client: KubeClient,
        name: str,
        namespace: str,
        *,
        identity: str,
        timing: LeaseTiming | None = None,
        on_lost: Callable[[str], None] | None = None,
        rng: Random | None = None,
        clock_us: Callable[[], int] = monotonic_us,
    ) -> None:
        """`identity` differs between replicas and between lives of one: a pod's name and uid. `on_lost` gets the
        reason in one sentence, on the loop.
        """
        if not identity:
            raise ValueError("a candidate needs an identity")
        self.acquired = asyncio.Event()
        self.lost = asyncio.Event()
        self.lost_because = ""
        self.transitions = 0
        """How often the Lease changed hands, as the record says."""
        self._client = client
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._timing = timing or LeaseTiming()
        self._on_lost = on_lost
        self._rng = rng or Random()  # noqa: S311  jitter, no secret
        self._clock_us = clock_us
        self._task = Background(f"lease {namespace}/{name}")
        self._seen: Lease | None = None
        self._seen_us = 0
        self._renewed_us: int | None = None
        self._problem = ""

    def start(self) -> None:
        self._task.start(self._run)

    def is_leader(self) -> bool:
        """False by this process's own clock before another could take over, whatever hangs."""
        age_us = self.age_us()
        return age_us is not None and age_us < self._timing.renew_deadline_s * _SECOND_US

    def age_us(self) -> int | None:
        """Since the last renewal that succeeded was sent; None when this candidate does not lead. Ask it before each
        write: a write that may take longer than what is left must not be begun.
        """
        return None if self._renewed_us is None or self.lost.is_set() else self._clock_us() - self._renewed_us

    @property
    def holder(self) -> str:
        """Who leads as far as this candidate has seen; empty when nobody does or nothing was seen."""
        return (self._seen.spec.holder_identity or "") if self._seen else ""

    @property
    def problem(self) -> str:
        """Why the last try failed, in one sentence; empty after one that did not."""
        return self._problem

    async def stop(self) -> None:
        """Stop leading and give the Lease back, so that another need not wait. End all that acts before."""
        led = self._renewed_us is not None and not self.lost.is_set()
        self._renewed_us = None
        await self._task.stop()
        if led:
            await self._release()

    async def _run(self) -> None:
        try:
            await self._campaign()
            await self._hold()
        except Exception as exc:
            # A mistake of ours must not leave a process that waits for ever, or that thinks it leads.
            log.exception("lease_failed", lease=self._name)
            self._lose(f"{type(exc).__name__} in the election; the log has more")

    async def _campaign(self) -> None:
        while True:
            if await self._try(self._timing.renew_deadline_s):
                break
            # Jittered, or the candidates would collide at each try.
            await asyncio.sleep(self._timing.retry_s * self._rng.uniform(1.0, 1.6))
        log.info("lease_acquired", lease=self._name, identity=self._identity, transitions=self.transitions)
        self.acquired.set()

    async def _hold(self) -> None:
        """Renew until it is lost."""
        while True:
            await asyncio.sleep(min(self._timing.retry_s, max(0.0, self._left_s())))
            left_s = self._left_s()
            if left_s <= 0:
                self._lose(f"it could not be renewed for {self._timing.renew_deadline_s:g} s ({self._problem})")
                return
            if not await self._try(left_s) and self.holder != self._identity:
                self._lose(f"{self.holder} holds it" if self.holder else "somebody removed it")
                return

    def _left_s(self) -> float:
        age_us = self.age_us()
        return 0.0 if age_us is None else self._timing.renew_deadline_s - age_us / _SECOND_US

    def _lose(self, because: str) -> None:
        self.lost_because = f"The lease {self._namespace}/{self._name} is lost: {because}."
        self.lost.set()
        self._renewed_us = None
        log.error("lease_lost", lease=self._name, identity=self._identity, because=because)
        if self._on_lost is not None:
            self._on_lost(self.lost_because)

    async def _try(self, timeout_s: float) -> bool:
        """One try to get or to renew. Errors are remembered, not raised."""
        try:
            async with asyncio.timeout(timeout_s):
                held = await self._get_or_renew()
        except TimeoutError:
            self._problem = f"the API server did not answer within {timeout_s:.1f} s"
            return False
        except (Conflict, AlreadyExists) as exc:
            # Somebody else wrote. Look who, so that a leader learns at once that it is none any more.
            self._problem = str(exc)
            await self._look(timeout_s)
            return False
        except NotFound as exc:
            # Another may make it anew at once, and would lead: who held it holds nothing now.
            self._problem = str(exc)
            self._seen = None
            return False
        except KubeError as exc:
            self._problem = str(exc)
            return False
        self._problem = ""  # that another holds it is none
        return held

    async def _look(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                self._observe(await self._client.get(LEASES, self._name, self._namespace))
        except (KubeError, TimeoutError) as exc:
            log.debug("lease_unread", lease=self._name, error=str(exc))

    async def _get_or_renew(self) -> bool:
        sent_us = self._clock_us()
        if self.is_leader() and self._seen is not None:
            # Nobody else may have written: renew what we wrote, without reading it first.
            await self._write(self._seen, sent_us)
            return True
        try:
            found = await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            body = self._body(transitions=0, acquired=None)
            sent_us = self._clock_us()
            self._take(await self._client.create(LEASES, body, self._namespace), sent_us)
            return True
        self._observe(found)
        if self._held_by_another(found.spec):
            return False
        await self._write(found, self._clock_us())
        return True

    def _observe(self, found: Lease) -> None:
        if self._seen is None or found.metadata.resource_version != self._seen.metadata.resource_version:
            self._seen = found
            self._seen_us = self._clock_us()
        self.transitions = found.spec.lease_transitions or 0

    def _held_by_another(self, spec: LeaseSpec) -> bool:
        if spec.holder_identity in {None, "", self._identity}:
            return False
        # Its own duration counts, not ours: the holder may run another version with other times.
        lasts_us = (spec.lease_duration_seconds or self._timing.duration_s) * _SECOND_US
        return self._clock_us() - self._seen_us < lasts_us

    async def _write(self, found: Lease, sent_us: int) -> None:
        """Put our name into exactly this version of the record. Raises Conflict when it changed since."""
        ours = found.spec.holder_identity == self._identity
        transitions = found.spec.lease_transitions or 0
        body = self._body(
            transitions=transitions if ours else transitions + 1, acquired=found.spec.acquire_time if ours else None
        )
        body["metadata"]["resourceVersion"] = found.metadata.resource_version
        self._take(await self._client.patch(LEASES, self._name, body, self._namespace), sent_us)

    def _take(self, written: Lease, sent_us: int) -> None:
        self._observe(written)
        self._renewed_us = sent_us

    def _body(self, *, transitions: int, acquired: str | None) -> dict[str, Any]:
        now = micro_time()
        return {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._timing.duration_s,
                "acquireTime": acquired or now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }

    async def _release(self) -> None:
        # As client-go does: nobody holds it, and nobody waits for longer than a second.
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": micro_time()}
        timeout_s = self._timing.retry_s
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(2):
                    if self._seen is None or self.holder != self._identity:
                        return
                    body = {"metadata": {"resourceVersion": self._seen.metadata.resource_version}, "spec": spec}
                    try:
                        await self._client.patch(LEASES, self._name, body, self._namespace)
                    except Conflict:
                        # A renewal of ours was done though its answer was cut off by this stop.
                        await self._look(timeout_s)
                    else:
                        return
        except (KubeError, TimeoutError) as exc:
            # It expires by itself; until then nobody leads, which is safe.
            log.info("lease_not_released", lease=self._name, error=str(exc))
