"""kopf as the source of our own kinds: GpuFunctions and the GpuPolicy, event by event, into the stores.

Only `on.event` handlers: nothing is written by kopf, no annotation, no finalizer, no Event. What is to be done for a
function is a matter of our own queue and of plan(), which are level-triggered. kopf watches these two kinds and no
others (docs/adr/0010).

It runs on a loop and a thread of its own: it takes over SIGTERM and SIGINT of a main thread, and when it ends it
cancels every task of its loop that is younger than itself, whoever began it. And it never tells of what was deleted
while its watch was broken, so `audit()` compares with a list now and then.
"""

import asyncio
import base64
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kopf
import msgspec
import structlog

from stoker.wire.cluster import GROUP, VERSION
from stoker_operator.function_store import FunctionStore
from stoker_operator.kinds import FUNCTION_VERSIONS, FUNCTIONS, Dynamic, Kept
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig, Pem
from stoker_runtime.kube.errors import NotFound

log = structlog.get_logger(__name__)

AUDIT_S = 60.0
SILENCE_S = 150.0
"""A watch that says nothing for so long is dead: the API server sends a bookmark about every minute."""
STOP_S = 5.0
GOODBYE_S = 0.1
DELETED = "DELETED"
_IDENTITY: Any = "stoker-operator"  # of a type that kopf does not export

OnPolicy = Callable[[Dynamic, bool], None]
"""Gets the object, and whether it is gone."""


class KopfFeed:
    """`await audit()` before anything is planned, then `start()`, then `audit()` every AUDIT_S; `failed` says when
    kopf ended by itself.
    """

    def __init__(self, kube: KubeClient, config: KubeConfig, store: FunctionStore, on_policy: OnPolicy) -> None:
        self._kube = kube
        self._config = config
        self._store = store
        self._on_policy = on_policy
        self._stop = threading.Event()
        self._failed = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def audit(self) -> None:
        """Take over all functions as of now. Raises KubeError."""
        if not self._store.objects:
            self._store.take_list([Kept.of(item) async for page in self._kube.pages(FUNCTIONS) for item in page.items])
            return
        # Only who is there, in which version: all of 5,000 functions would be half a second of the loop, and 40 MiB.
        listed = await self._kube.list(FUNCTION_VERSIONS)
        for item in self._store.compare(listed.items, listed.resource_version):
            with contextlib.suppress(NotFound):
                newest = await self._kube.get(FUNCTIONS, item.metadata.name, item.metadata.namespace)
                self._store.put(newest)

    def start(self) -> None:
        """Watch until stop()."""
        # kopf logs every event of every object on lower levels, and once that signals are not its own.
        logging.getLogger("kopf").setLevel(logging.ERROR)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether kopf has ended although nobody stopped it."""
        return self._failed

    async def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join, STOP_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except Exception:
            # `failed` tells those who run the process; here is why.
            log.exception("kopf_failed")

    async def _watch(self) -> None:
        try:
            await kopf.operator(
                registry=self._registry(),
                settings=_settings(),
                # Only peering uses it. Left to kopf it is a user's name, and a container's user id has none: KeyError.
                identity=_IDENTITY,
                clusterwide=True,
                standalone=True,
                stop_flag=self._stop,
            )
        finally:
            self._failed = not self._stop.is_set()
            # A thread of kopf's waits for it, and the loop would wait for that thread for ever.
            self._stop.set()
        # Its TLS connections close by and by, and a loop that ends before leaves them open.
        await asyncio.sleep(GOODBYE_S)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        async def on_function(*, event: Mapping[str, Any], **_: object) -> None:
            item = _read(event)
            if item is not None:
                gone = event.get("type") == DELETED
                self._tell(self._store.remove_one if gone else self._store.put, Kept.of(item))

        async def on_policy(*, event: Mapping[str, Any], **_: object) -> None:
            item = _read(event)
            if item is not None:
                gone = event.get("type") == DELETED
                self._tell(self._on_policy, item, gone)

        async def login(**_: object) -> kopf.ConnectionInfo:
            return connection(self._config)

        kopf.on.event(GROUP, VERSION, "gpufunctions", registry=registry)(on_function)
        kopf.on.event(GROUP, VERSION, "gpupolicies", registry=registry)(on_policy)
        kopf.on.login(registry=registry)(login)
        return registry

    def _tell(self, told: Callable[..., None], *arguments: object) -> None:
        """From kopf's thread to the operator's loop, which may have ended just now."""
        loop = self._loop
        if loop is not None and not self._stop.is_set() and not loop.is_closed():
            loop.call_soon_threadsafe(told, *arguments)


def _read(event: Mapping[str, Any]) -> Dynamic | None:
    try:
        raw = event["object"]
        item = msgspec.convert(raw, Dynamic, strict=False)
    except (KeyError, msgspec.ValidationError) as error:
        log.warning("object_unreadable", error=str(error))
        return None
    # kopf remembers the last state of every object for handlers that we do not have: 15 KiB of each.
    for part in ("spec", "status"):
        raw.pop(part, None)
    raw["metadata"].pop("managedFields", None)
    return item


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # leadership is a Lease of our own
    settings.scanning.disabled = True  # needs no right to list CRDs and namespaces
    settings.posting.enabled = False
    # A task of kopf's waits so long for more of each object: of 5,000 that are listed at once it would be 30 MiB.
    settings.queueing.idle_timeout = 0.1
    settings.process.ultimate_exiting_timeout = None
    settings.watching.inactivity_timeout = SILENCE_S
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    return settings


def connection(config: KubeConfig) -> kopf.ConnectionInfo:
    """Our way to the API server in kopf's words; called again when the server refuses, so a new token is read then."""
    token = config.token
    if config.token_file is not None:
        token = config.token_file.read_text("utf-8").strip()
    return kopf.ConnectionInfo(
        server=config.server,
        ca_path=_path(config.authority),
        ca_data=_data(config.authority),
        certificate_path=_path(config.client_certificate),
        certificate_data=_data(config.client_certificate),
        private_key_path=_path(config.client_key),
        private_key_data=_data(config.client_key),
        scheme="Bearer" if token else None,
        token=token or None,
        default_namespace=config.namespace,
    )


def _path(pem: Pem) -> str | None:
    return str(pem) if isinstance(pem, Path) else None


def _data(pem: Pem) -> str | None:
    return base64.b64encode(pem).decode() if isinstance(pem, bytes) else None
