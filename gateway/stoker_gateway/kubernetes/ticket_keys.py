"""The key that all gateways share for tickets, read from its Secret, and again every minute.

The operator's leader makes it and changes it (stoker_operator.ticket_keys). A gateway serves without it too: nobody
gets a ticket then. What was read last stays good while it cannot be read.
"""

import asyncio
from collections.abc import Callable

import structlog

from stoker.tickets import KEY_BYTES, TicketKeys
from stoker.wire.cluster import K_TICKET_CURRENT, K_TICKET_OTHER, TICKET_SECRET
from stoker_runtime.background import Background
from stoker_runtime.identity import SECRETS, SecretReader
from stoker_runtime.kube.errors import KubeError, NotFound

REREAD_S = 60.0
RETRY_S = 5.0
"""While there is none yet."""

log = structlog.get_logger(__name__)


class TicketKeyReader:
    """`start()`, `await stop()`. `take` is told of each change."""

    def __init__(
        self,
        kube: SecretReader,
        namespace: str,
        take: Callable[[TicketKeys], None],
        *,
        reread_s: float = REREAD_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._take = take
        self._reread_s = reread_s
        self._retry_s = retry_s
        self._keys: TicketKeys | None = None
        self._problem = ""
        self._task = Background("ticket keys")

    def start(self) -> None:
        """Read now, and from now on."""
        self._task.start(self._read_forever)

    async def stop(self) -> None:
        """Read no more."""
        await self._task.stop()

    async def _read_forever(self) -> None:
        while True:
            try:
                await self._read()
            except Exception:
                # A mistake of ours must not end the reading: the next change of keys would void every ticket.
                log.exception("ticket_keys_look_failed")
            await asyncio.sleep(self._retry_s if self._keys is None else self._reread_s)

    async def _read(self) -> None:
        name = f"{self._namespace}/{TICKET_SECRET}"
        try:
            data = (await self._kube.get(SECRETS, TICKET_SECRET, self._namespace)).data or {}
        except NotFound:
            self._say(f"The Secret {name} does not exist (yet): the operator's leader makes it.")
            return
        except KubeError as exc:
            self._say(f"The Secret {name} cannot be read: {exc}")
            return
        keys = TicketKeys(data.get(K_TICKET_CURRENT, b""), data.get(K_TICKET_OTHER, b""))
        if len(keys.current) < KEY_BYTES:
            self._say(
                f"The Secret {name} holds no key of {KEY_BYTES} bytes. Delete it, and the operator makes a new one."
            )
            return
        self._say("")
        if keys != self._keys:
            log.info("ticket_keys_changed" if self._keys else "ticket_keys_loaded")
            self._keys = keys
            self._take(keys)

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("no_ticket_key" if self._keys is None else "ticket_keys_not_renewed", problem=problem)
        self._problem = problem
