"""From the pods of this node to the agent's replicas: level-triggered over pods, kubelet and devices.

`sync()` looks at all of them as they are now and does what is missing: reserve what a pod really got, grant it to the
waiting init container, attach its address, drain what is to go, detach what is gone. Running it once more, late or
twice changes nothing. It asks nobody: others tell it the world (`pods`, `set_listing`) and poke it.

A pod is known by its uid; the kubelet knows names only, so what it lists under a name that another pod had a moment
ago is believed only once it has acknowledged the new one.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from stoker.model.function import Probe
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason
from stoker.wire.cluster import MAIN_CONTAINER, ReplicaReport
from stoker_node.agent import Agent
from stoker_node.devices import CPU_DEVICE_ID
from stoker_node.kubelet.pod_resources import PodDevices
from stoker_node.kubernetes.device_view import DeviceView
from stoker_node.kubernetes.fitness import CrossTenant, Tenant, Verdict, cards_of, judge, judge_cpu
from stoker_node.kubernetes.grants import Grants
from stoker_node.kubernetes.objects import Pod
from stoker_node.kubernetes.replica_pod import NotAReplica, ReplicaPod, read_pod
from stoker_node.kubernetes.tracked import Tracked, report

log = structlog.get_logger(__name__)

_RETIRED_US = 600_000_000
"""A name that was in use is looked at with suspicion for so long."""
_MAX_TOLD = 1000

Key = tuple[str, str]


class PodSync:
    """See the module. All of it runs on the event loop."""

    def __init__(
        self,
        *,
        agent: Agent,
        grants: Grants,
        view: DeviceView,
        pods: Callable[[], Iterable[Pod]],
        function_uids: Callable[[], Mapping[str, str]],
        cross_tenant: CrossTenant,
        clock_us: Callable[[], int],
        quiet_until_us: int,
        on_change: Callable[[], None],
        on_granted: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`quiet_until_us`: before it nothing new is granted, because a predecessor's grants may not be seen yet.
        `on_change` is called when what report() says may be different, `on_granted` with the microseconds that a pod
        with a shared device waited for its reservation.
        """
        self._agent = agent
        self._grants = grants
        self._view = view
        self._pods = pods
        self._function_uids = function_uids
        self._cross_tenant = cross_tenant
        self._clock_us = clock_us
        self._quiet_until_us = quiet_until_us
        self._on_change = on_change
        self._on_granted = on_granted
        self._tracked: dict[str, Tracked] = {}
        self._listing: dict[Key, tuple[PodDevices, ...]] | None = None
        self._lists = 0
        self._retired: dict[Key, tuple[int, int]] = {}
        """Names whose pod is gone: since which List, and when."""
        self._told: dict[str, str] = {}
        self._last_told: object = None
        self._reads: dict[str, tuple[Pod, ReplicaPod]] = {}
        """What pods that have not changed said when they were read."""
        self._next_order = 0
        self._first = True
        self._stopping = False
        self.served: set[str] = set()
        """Functions that have or had a replica here."""

    # What others tell.

    def set_listing(self, listing: Sequence[PodDevices]) -> None:
        """What the kubelet's List says now: Lists come one after the other, each asked when the last was told."""
        found: dict[Key, list[PodDevices]] = {}
        for held in listing:
            found.setdefault((held.namespace, held.pod), []).append(held)
        self._listing = {key: tuple(parts) for key, parts in found.items()}
        self._lists += 1

    def accuse(self, uid: str, unfit: str) -> None:
        """Its process uses more than was promised: report it so, until it is gone."""
        tracked = self._tracked.get(uid)
        if tracked is not None and tracked.accused != unfit:
            tracked.accused = unfit
            log.warning("replica_over_its_memory", replica=tracked.pod.replica.id, unfit=unfit)
            self.sync()

    def retire(self) -> None:
        """The agent is about to stop: from now on nothing is reserved, granted or attached."""
        self._stopping = True

    async def drain(self, uid: str, wait_s: float) -> int | None:
        """Dispatch nothing more to the pod: requests still in flight after at most `wait_s`; None: no such pod."""
        tracked = self._tracked.get(uid)
        if tracked is None:
            return None
        self._drain(tracked)
        if tracked.drain is not None:
            await asyncio.wait({tracked.drain}, timeout=wait_s)
            if not tracked.drain.done():
                status = self._agent.replica(tracked.pod.replica.id)
                return 0 if status is None else max(1, status.in_flight)
        return 0

    # What others ask.

    def waits_for_devices(self) -> bool:
        """Whether a pod is here of which the kubelet has not said what it got, or of which an answer would help."""
        return any(one.cards is None or one.blocked for one in self._tracked.values() if not one.leaving)

    def reports(self) -> tuple[ReplicaReport, ...]:
        """Every replica of this node, by id."""
        now_us = self._clock_us()
        found = [report(one, self._agent.replica(one.pod.replica.id), now_us) for one in self._tracked.values()]
        return tuple(sorted(found, key=lambda one: one.id))

    def tracked(self) -> tuple[Tracked, ...]:
        """To be read only."""
        return tuple(self._tracked.values())

    # The level-triggered step.

    def sync(self) -> None:
        """Do what is missing."""
        now_us = self._clock_us()
        found = self._read()
        for uid, tracked in tuple(self._tracked.items()):
            pod = found.get(uid)
            if pod is None or pod.ended is not None:
                self._drop(tracked, pod, now_us)
        # Those that a former agent let in come first: what they were granted is nobody else's.
        for uid, pod in sorted(found.items(), key=lambda item: not item[1].let_in):
            if pod.ended is None:
                self._see(uid, pod, now_us)
        if not self._stopping:
            for tracked in tuple(self._tracked.values()):
                self._advance(tracked, now_us)
        self._first = False
        self._retired = {key: since for key, since in self._retired.items() if now_us - since[1] < _RETIRED_US}
        told = tuple((uid, one.cards, one.unfit, one.reserved) for uid, one in self._tracked.items())
        if told != self._last_told:
            self._last_told = told
            self._on_change()

    def _read(self) -> dict[str, ReplicaPod]:
        uids = self._function_uids()
        found: dict[str, ReplicaPod] = {}
        reads: dict[str, tuple[Pod, ReplicaPod]] = {}
        for pod in self._pods():
            uid = pod.metadata.uid
            known = self._tracked.get(uid)
            before = self._reads.get(uid)
            read: ReplicaPod | NotAReplica
            if before is not None and before[0] is pod and known is not None:
                read = before[1]
            else:
                # What was let in once stays until it is gone: its function may be deleted before it.
                accepted = uids if known is None else {known.pod.replica.function: known.pod.replica.function_uid}
                read = read_pod(pod, accepted)
            if isinstance(read, ReplicaPod):
                reads[uid] = (pod, read)
            if isinstance(read, ReplicaPod):
                found[uid] = read
                self._told.pop(uid, None)
            elif self._told.get(uid) != read.why:
                self._tell(pod, uid, read)
        self._reads = reads
        return found

    def _tell(self, pod: Pod, uid: str, read: NotAReplica) -> None:
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._told[uid] = read.why
        log.warning("pod_is_no_replica", namespace=pod.metadata.namespace, pod=pod.metadata.name, why=read.why)

    def _see(self, uid: str, pod: ReplicaPod, now_us: int) -> None:
        tracked = self._tracked.get(uid)
        if tracked is None:
            self._next_order += 1
            tracked = self._tracked[uid] = Tracked(
                pod, self._next_order, now_us, recovered=self._first and pod.acknowledged
            )
        tracked.pod = pod
        # A function made anew under the same name is another one: what is left of the old one serves it no more.
        uid_now = self._function_uids().get(pod.replica.function)
        if pod.leaving or uid_now not in (None, pod.replica.function_uid):
            self._drain(tracked)

    def _drop(self, tracked: Tracked, pod: ReplicaPod | None, now_us: int) -> None:
        """Its process is gone, and so is what it held."""
        del self._tracked[tracked.pod.uid]
        self._retired[tracked.pod.key] = (self._lists, now_us)
        self._grants.forget(tracked.pod.uid)
        reason = None
        if not tracked.leaving:
            reason = (pod.ended if pod is not None else None) or Reason.REPLICA_FAILED
        self._agent.detach(tracked.pod.replica.id, reason if tracked.reserved else None)
        log.info("replica_gone", replica=tracked.pod.replica.id, pod_uid=tracked.pod.uid, reason=reason)

    def _drain(self, tracked: Tracked) -> None:
        if tracked.leaving:
            return
        tracked.leaving = True
        self._grants.forget(tracked.pod.uid)
        if tracked.reserved:
            coroutine = self._agent.drain(tracked.pod.replica.id)
            tracked.drain = asyncio.get_running_loop().create_task(coroutine)
        self._on_change()

    def _advance(self, tracked: Tracked, now_us: int) -> None:
        if tracked.reserved:
            self._watch_over(tracked)
        elif not tracked.leaving:
            self._place(tracked, now_us)
        if tracked.reserved and not tracked.leaving:
            self._follow_address(tracked)

    # From devices to a reservation.

    def _place(self, tracked: Tracked, now_us: int) -> None:
        pod = tracked.pod
        if tracked.cards is None:
            tracked.cards = self._cards(pod)
            if tracked.cards is None:
                return
        verdict = self._judge(tracked, passing=True)
        tracked.blocked = bool(verdict.unfit) and not self._judge(tracked, passing=False).unfit
        if tracked.blocked:
            # Only what is about to go is in the way: the kubelet gives a card away sooner than the API says so.
            tracked.unfit = ""
            return
        if tracked.unfit != verdict.unfit:
            log.info("pod_got_devices", replica=pod.replica.id, devices=verdict.devices, unfit=verdict.unfit)
        tracked.unfit = verdict.unfit
        if not verdict.unfit and pod.gated and not pod.let_in and now_us < self._quiet_until_us:
            return
        self._hold(tracked, verdict)
        if not verdict.unfit:
            reason = self._agent.reserve(_spec(pod, verdict), verdict.parts)
            if reason is not None:
                tracked.unfit = f"its devices could not be reserved: {reason.value}"
                return
            tracked.reserved = True
            self.served.add(pod.replica.function)
            if pod.gated:
                self._grants.grant(pod.uid)
                if not tracked.recovered:
                    self._on_granted(now_us - tracked.seen_us)

    def _cards(self, pod: ReplicaPod) -> tuple[str, ...] | None:
        """The cards that the kubelet gave to this very pod; None while it has not said so."""
        if not pod.replica.options:
            return (CPU_DEVICE_ID,)
        if self._listing is None:
            return None
        resources = {option.resource_name for option in pod.replica.options}
        ids = [
            text
            for held in self._listing.get(pod.key, ())
            if held.container == MAIN_CONTAINER and held.resource in resources
            for text in held.device_ids
        ]
        cards = cards_of(ids)
        retired = self._retired.get(pod.key)
        if retired is not None:
            # One List may have been under way when the old pod was last seen.
            fresh = self._lists > retired[0] + 1
            believable = pod.acknowledged and fresh and len(cards) == pod.replica.count
            if not believable:
                return None
            del self._retired[pod.key]
        return cards or None

    def _judge(self, tracked: Tracked, *, passing: bool) -> Verdict:
        """`passing`: whether those count that are about to go."""
        replica = tracked.pod.replica
        assert tracked.cards is not None
        if not replica.options:
            return judge_cpu(replica, CPU_DEVICE_ID)
        others: dict[str, list[Tenant]] = {}
        for other in self._tracked.values():
            # What came later and was given nothing does not stand in the way of what came before it, nor does what
            # was given nothing at all stand in the way of what a former agent let in.
            came_before = other.order < tracked.order and not tracked.pod.let_in
            counts = other is not tracked and (other.reserved or came_before)
            if counts and (passing or not self._passes(other)):
                for part in other.parts:
                    others.setdefault(part.device_id, []).append(Tenant(other.pod.namespace, part))
        return judge(replica, tracked.cards, self._view.held(), others, self._cross_tenant)

    def _passes(self, other: Tracked) -> bool:
        unlisted = self._listing is not None and other.pod.key not in self._listing
        return other.leaving or (unlisted and bool(other.pod.replica.options))

    def _hold(self, tracked: Tracked, verdict: Verdict) -> None:
        if tracked.parts != verdict.parts:
            tracked.parts = verdict.parts
            self._agent.hold(_spec(tracked.pod, verdict), verdict.parts)

    # What has a reservation.

    def _watch_over(self, tracked: Tracked) -> None:
        """A card that turned bad, or a process that took too much: what runs goes on, and is to be replaced."""
        condemned = (self._view.condemned(card) for card in tracked.cards or ())
        tracked.unfit = next((text for text in condemned if text), "") or tracked.accused

    def _follow_address(self, tracked: Tracked) -> None:
        """Attach it where it listens; anew when its address changed: its sandbox was made again."""
        pod = tracked.pod
        if tracked.ip not in ("", pod.ip):
            self._begin_again(tracked)
        if not tracked.ip and pod.ip:
            tracked.ip = pod.ip
            readiness = Probe(path=pod.replica.readiness_path)
            measured = not tracked.recovered
            self._agent.attach(pod.replica.id, pod.ip, pod.replica.port, readiness, measured=measured)

    def _begin_again(self, tracked: Tracked) -> None:
        pod = tracked.pod
        log.info("replica_begins_again", replica=pod.replica.id, ip=pod.ip)
        self._agent.detach(pod.replica.id, Reason.REPLICA_FAILED)
        tracked.ip = ""
        verdict = Verdict(tracked.cards or (), tracked.parts)
        self._agent.hold(_spec(pod, verdict), tracked.parts)
        self._agent.reserve(_spec(pod, verdict), tracked.parts)
        tracked.recovered = False


def _spec(pod: ReplicaPod, verdict: Verdict) -> ReplicaSpec:
    replica = pod.replica
    return ReplicaSpec(
        id=replica.id,
        function=replica.function,
        variant=replica.variant,
        revision=replica.revision,
        ordinal=replica.ordinal,
        devices=tuple(dict.fromkeys(part.device_id for part in verdict.parts)),
    )
