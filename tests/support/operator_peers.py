"""Agents and gateways as the operator meets them: their control ports with real mTLS, saying what a test wants."""

import asyncio
import ssl
import time
from collections.abc import Collection
from typing import Any

import msgspec
from aiohttp import web

from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.wire.cluster import (
    DEMAND_PATH,
    DRAIN_PATH,
    REPLICAS_PATH,
    DemandFrame,
    DrainAnswer,
    DrainRequest,
    ReplicaFrame,
    ReplicaReport,
    VariantDemandReport,
)
from stoker_runtime.snapshot_feed import SnapshotFeed


class _Listener:
    """An aiohttp server with one stream."""

    def __init__(self, address: str, port: int, path: str) -> None:
        self.address = address
        self.port = port
        self.silent = False
        """It neither speaks nor answers, as a process that hangs."""
        self.feed = SnapshotFeed(self.snapshot, 0.01, 0.5)
        self._path = path
        self._runner: web.AppRunner | None = None
        self._ssl: ssl.SSLContext | None = None

    def snapshot(self, seq: int) -> bytes:
        raise NotImplementedError

    def routes(self, app: web.Application) -> None:
        app.router.add_get(self._path, self.feed.handle)

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._ssl = context or self._ssl
        app = web.Application()
        self.routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, self.port, ssl_context=self._ssl, reuse_address=True).start()
        self.silent = False

    async def stop(self) -> None:
        self.silent = True
        runner, self._runner = self._runner, None
        if runner is not None:
            self.feed.close()
            await runner.cleanup()
            self.feed = SnapshotFeed(self.snapshot, 0.01, 0.5)


class ScriptedAgent(_Listener):
    """The agent of one node. Its replicas are idle unless told otherwise."""

    def __init__(self, node: str, address: str, port: int, journal: list[str]) -> None:
        super().__init__(address, port, REPLICAS_PATH)
        self.node = node
        self.journal = journal
        self.holds_drain = asyncio.Event()
        self.holds_drain.set()
        """Cleared: requests in flight do not end."""
        self._replicas: dict[str, dict[str, Any]] = {}
        self._names: dict[str, str] = {}

    def routes(self, app: web.Application) -> None:
        super().routes(app)
        app.router.add_post(DRAIN_PATH, self._on_drain)

    def take(self, name: str, uid: str, replica_id: str, device: str) -> None:
        """A pod has begun here."""
        self._names[uid] = name
        self._replicas[uid] = {
            "id": replica_id,
            "state": ReplicaState.STARTING,
            "devices": (device,) if device else (),
            "began_s": time.monotonic(),
        }
        self.feed.changed()

    def warm(self, uid: str) -> None:
        now_s = time.monotonic()
        self._replicas[uid] |= {"state": ReplicaState.WARM, "ready_s": now_s, "idle_s": now_s}
        self.feed.changed()

    def say(self, uid: str, **facts: Any) -> None:
        """Change what is said of a replica: `in_flight`, `served`, `unfit`, `overdue_ms`, `state`, `devices`."""
        self._replicas[uid] |= facts
        if facts.get("in_flight"):
            self._replicas[uid]["idle_s"] = None
        self.feed.changed()

    def state(self, uid: str) -> ReplicaState | None:
        replica = self._replicas.get(uid)
        return None if replica is None else replica["state"]

    def unfit(self, uid: str) -> str:
        return str(self._replicas[uid].get("unfit", ""))

    def held(self) -> set[str]:
        return {device for replica in self._replicas.values() for device in replica["devices"]}

    def uids(self) -> list[str]:
        return list(self._replicas)

    def forget(self, uid: str) -> None:
        """It has ended."""
        self._replicas.pop(uid, None)
        self.feed.changed()

    def keep_only(self, uids: Collection[str]) -> None:
        """Pods that are gone are forgotten."""
        for uid in self._replicas.keys() - uids:
            del self._replicas[uid]
            self.feed.changed()

    def snapshot(self, seq: int) -> bytes:
        return msgspec.json.encode(
            ReplicaFrame(seq=seq, node=self.node, replicas=tuple(self._report(uid) for uid in self._replicas))
        )

    def _report(self, uid: str) -> ReplicaReport:
        replica = self._replicas[uid]

        def age(name: str) -> int | None:
            at_s = replica.get(name)
            return None if at_s is None else round((time.monotonic() - at_s) * 1000)

        facts = {name: replica[name] for name in ("in_flight", "served", "unfit", "overdue_ms") if name in replica}
        return ReplicaReport(
            id=replica["id"],
            pod_uid=uid,
            state=replica["state"],
            devices=replica["devices"],
            started_ms=age("began_s") or 0,
            ready_ms=age("ready_s"),
            idle_ms=age("idle_s"),
            **facts,
        )

    async def _on_drain(self, request: web.Request) -> web.Response:
        uid = msgspec.json.decode(await request.read(), type=DrainRequest).pod_uid
        name = self._names.get(uid)
        if name is None or uid not in self._replicas:
            return web.Response(status=404)
        self.journal.append(f"drain {name}")
        self.say(uid, state=ReplicaState.DRAINING)
        try:
            async with asyncio.timeout(0.5):
                await self.holds_drain.wait()
        except TimeoutError:
            return _json(DrainAnswer(drained=False, in_flight=1))
        self.say(uid, in_flight=0)
        self.journal.append(f"drained {name}")
        return _json(DrainAnswer(drained=True))


class ScriptedGateway(_Listener):
    """One gateway: the demand that it tells of."""

    def __init__(self, name: str, address: str, port: int) -> None:
        super().__init__(address, port, DEMAND_PATH)
        self.name = name
        self._demand: dict[str, dict[Variant, tuple[int, float | None]]] = {}

    def wants(self, key: str, held: int = 1, variant: Variant = Variant.GPU) -> None:
        """So many requests are held; a wake."""
        now_s = time.monotonic()
        self._demand.setdefault(key, {})[variant] = (held, now_s)
        self.feed.changed()

    def served(self, key: str, variant: Variant = Variant.GPU) -> None:
        """Nobody waits any more; the wake is remembered."""
        self._demand[key][variant] = (0, self._demand[key][variant][1])
        self.feed.changed()

    def snapshot(self, seq: int) -> bytes:
        now_s = time.monotonic()
        functions = {
            key: {
                variant: VariantDemandReport(
                    held=held,
                    in_system=held,
                    last_wake_ms=None if woken_s is None else round((now_s - woken_s) * 1000),
                    oldest_held_ms=None if not held or woken_s is None else round((now_s - woken_s) * 1000),
                )
                for variant, (held, woken_s) in variants.items()
            }
            for key, variants in self._demand.items()
        }
        return msgspec.json.encode(DemandFrame(seq=seq, gateway=self.name, functions=functions))


def _json(content: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")
