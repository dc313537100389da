"""The operator's port on an agent: the stream of replicas, and drains. mTLS; only the operator gets through.

Knows the form of questions and answers, and nothing of how replicas are followed.
"""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from stoker.model.function import Variant
from stoker.prediction import ExecProfile
from stoker.wire.cluster import (
    DRAIN_PATH,
    DRAIN_WAIT_S,
    HEARTBEAT_S,
    REPLICAS_MIN_INTERVAL_S,
    REPLICAS_PATH,
    CostReport,
    DrainAnswer,
    DrainRequest,
    ProfileReport,
    ReplicaFrame,
    ReplicaReport,
    SpentReport,
)
from stoker_runtime.http_listener import HttpListener
from stoker_runtime.snapshot_feed import SnapshotFeed

_MAX_BODY = 4096
_ENCODER = msgspec.json.Encoder()
_DRAIN = msgspec.json.Decoder(DrainRequest)

Drain = Callable[[str, float], Awaitable[int | None]]
"""Pod uid and seconds to wait -> requests in flight; None for a pod that is not known."""


class Told:
    """What a frame is made of. Each is asked for when a line is written."""

    def __init__(
        self,
        *,
        node: str,
        accepting: Callable[[], bool],
        replicas: Callable[[], tuple[ReplicaReport, ...]],
        queued: Callable[[], Mapping[str, Mapping[Variant, int]]],
        start_ms: Callable[[], Mapping[str, Mapping[Variant, int]]],
        profiles: Callable[[], Mapping[str, tuple[ExecProfile, ...]]],
        costs: Callable[[], Mapping[str, Mapping[Variant, CostReport]]] = dict,
        spent: Callable[[], Mapping[str, tuple[SpentReport, ...]]] = dict,
    ) -> None:
        self._node = node
        self._accepting = accepting
        self._replicas = replicas
        self._queued = queued
        self._start_ms = start_ms
        self._profiles = profiles
        self._costs = costs
        self._spent = spent

    def frame(self, seq: int) -> ReplicaFrame:
        return ReplicaFrame(
            seq=seq,
            node=self._node,
            accepting=self._accepting(),
            replicas=self._replicas(),
            queued={key: dict(by) for key, by in self._queued().items()},
            start_ms={key: dict(by) for key, by in self._start_ms().items()},
            profiles={key: tuple(_report(each) for each in of_key) for key, of_key in self._profiles().items()},
            costs={key: dict(by) for key, by in self._costs().items()},
            spent=dict(self._spent()),
        )


def _report(profile: ExecProfile) -> ProfileReport:
    return ProfileReport(
        variant=profile.variant,
        product=profile.product,
        p50_ms=profile.p50_us / 1000,
        p99_ms=profile.p99_us / 1000,
        samples=profile.samples,
        mean_ms=profile.mean_us / 1000,
        deviation_ms=profile.deviation_us / 1000,
    )


class Control(HttpListener):
    """The listener."""

    def __init__(self, told: Told, drain: Drain, *, drain_wait_s: float = DRAIN_WAIT_S) -> None:
        self._drain = drain
        self._drain_wait_s = drain_wait_s
        self._feed = SnapshotFeed(lambda seq: _ENCODER.encode(told.frame(seq)), REPLICAS_MIN_INTERVAL_S, HEARTBEAT_S)
        routes = [web.get(REPLICAS_PATH, self._feed.handle), web.post(DRAIN_PATH, self._on_drain)]
        super().__init__(routes, max_body=_MAX_BODY, streams=True)

    def changed(self) -> None:
        """Something about a replica is different now."""
        self._feed.changed()

    async def stop(self) -> None:
        """End the streams and close. Twice is fine."""
        self._feed.close()
        await super().stop()

    async def _on_drain(self, request: web.Request) -> web.Response:
        try:
            asked = _DRAIN.decode(await request.read())
        except msgspec.MsgspecError as err:
            return web.Response(status=400, text=f"the body is no DrainRequest: {err}\n")
        in_flight = await self._drain(asked.pod_uid, self._drain_wait_s)
        if in_flight is None:
            return web.Response(status=404, text=f"no pod with the uid {asked.pod_uid} is known here\n")
        answer = DrainAnswer(drained=in_flight == 0, in_flight=in_flight)
        return web.Response(body=_ENCODER.encode(answer), content_type="application/json")
