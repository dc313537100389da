"""Pods of functions as plan() needs them: which replica each is, and what is to be said of its start. Pure.

Knows the form of pods and of agents' reports, and nothing of functions, devices or what will be done.
"""

import datetime as dt

import msgspec
from msgspec import Struct

from stoker import names
from stoker.errors import InvalidObject
from stoker.model.replica import ReplicaState
from stoker.wire.cluster import A_REPLICA, PodReplica
from stoker_operator.agent_board import Heard
from stoker_operator.kinds import Pod

ENDED = ("Failed", "Succeeded")


class ReplicaPod(Struct, frozen=True, kw_only=True):
    """A pod that is a replica, and the last report of its agent."""

    pod: Pod
    replica: PodReplica
    heard: Heard | None = None
    warm_since_us: int | None = None
    """When it became warm, also after its agent has forgotten it; None: it never was, as far as anybody saw."""

    @property
    def uid(self) -> str:
        return self.pod.metadata.uid

    @property
    def node(self) -> str:
        """Empty until it is scheduled."""
        return self.pod.spec.node_name

    @property
    def ending(self) -> bool:
        """Whether somebody deleted it."""
        return self.pod.metadata.deletion_timestamp is not None

    @property
    def ended(self) -> bool:
        """Whether its containers are over: it is no replica any more, but its name is taken."""
        return self.pod.status.phase in ENDED

    @property
    def state(self) -> ReplicaState:
        """Where it stands. What its agent last said stands while the agent is away."""
        if self.ending:
            return ReplicaState.DRAINING
        if self.heard is None:
            return ReplicaState.STARTING
        state = self.heard.report.state
        return ReplicaState.STARTING if state is ReplicaState.GONE else state


class PodReader:
    """Reads the annotation of each pod once: it never changes in the life of a pod."""

    def __init__(self) -> None:
        self._known: dict[str, PodReplica | None] = {}
        self._decoder = msgspec.json.Decoder(PodReplica)

    def replica_of(self, pod: Pod) -> PodReplica | None:
        """Which replica the pod is; None for one that only looks like ours."""
        uid = pod.metadata.uid
        if uid not in self._known:
            self._known[uid] = self._read(pod)
        return self._known[uid]

    def forget(self, pod: Pod) -> None:
        """It is gone."""
        self._known.pop(pod.metadata.uid, None)

    def _read(self, pod: Pod) -> PodReplica | None:
        meta = pod.metadata
        try:
            replica = self._decoder.decode((meta.annotations or {}).get(A_REPLICA, ""))
        except msgspec.MsgspecError:
            return None
        # Anybody may write annotations. A replica belongs to the function that owns it as its controller, and has
        # the name that only it can have: else a second pod could pass for it.
        namespace, _, name = replica.function.partition("/")
        owned = any(
            owner.controller
            and owner.kind == "GpuFunction"
            and owner.uid == replica.function_uid
            and owner.name == name
            for owner in meta.owner_references or ()
        )
        try:
            named = names.pod_name(replica.id) == meta.name
            of_function = names.parse_replica_id(replica.id).function == replica.function
        except InvalidObject:
            return None
        return replica if owned and named and of_function and namespace == meta.namespace else None


def epoch_us(text: str | None) -> int | None:
    """An API timestamp as microseconds since 1970; None for none, or for one that is no time."""
    if not text:
        return None
    try:
        return round(dt.datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        return None


def started_us(view: ReplicaPod, now_us: int, wall_us: int) -> int:
    """When its start-up began on the operator's monotonic clock: when it got its node.

    A pod without one waits since it was made; plan() knows by the reason that this is not its revision's fault.
    """
    if view.heard is not None:
        return view.heard.started_us
    scheduled = view.pod.status.condition("PodScheduled")
    bound = view.node and scheduled is not None
    at_us = epoch_us(scheduled.last_transition_time if bound and scheduled else view.pod.metadata.creation_timestamp)
    # A clock of another machine: never in the future.
    return now_us if at_us is None else now_us - max(0, wall_us - at_us)
