"""Keeps one node's plugin registered as its state file says: one endpoint for each resource that there ever was.

Nothing here ends the process but a signal.
"""

import asyncio
import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import IO

from gpus.endpoint import Endpoint, identity, say
from gpus.preferred import RESOURCE, cards
from gpus.state import FILE, BrokenState, NodeState, read

SOCKET = "stoker-gpus.sock"
"""Short: the path of a Unix socket has 108 bytes, and a cluster for tests may have its folders anywhere."""
_LOOK_S = 0.2


class Registration:
    """One plugin process of one node."""

    def __init__(self, plugins: Path, states: Path, state: NodeState, resource: str = RESOURCE) -> None:
        """`plugins` is the kubelet's folder of plugin sockets, `states` the folder of the state file, `resource` that
        of whole GPUs.
        """
        self._plugins = plugins
        self._states = states
        self._resource = resource
        self._state = state
        self._endpoints: dict[str, Endpoint] = {}
        self._file = identity(states / FILE)
        self._told = ""

    async def run(self) -> None:
        """Until it is cancelled. Waits first for a plugin that still serves this node, as in a rolling update."""
        with (self._states / ".plugin.lock").open("w") as held:
            while not _locked(held):  # noqa: ASYNC110  no event tells when another process lets a file go
                await asyncio.sleep(_LOOK_S)
            self._write_labels()
            try:
                while True:
                    await self._look()
                    await asyncio.sleep(_LOOK_S)
            finally:
                for endpoint in self._endpoints.values():
                    await endpoint.stop()

    async def _look(self) -> None:
        await self._follow_state()
        # A node without GPUs registers nothing; a resource that has no cards any more says so to the kubelet.
        for resource in {card.resource for card in cards(self._state, self._resource)} - self._endpoints.keys():
            socket = SOCKET if resource == self._resource else f"stoker-{resource.rpartition('/')[2]}.sock"
            self._endpoints[resource] = Endpoint(self._plugins, socket, self._state, resource, self._resource)
        for endpoint in self._endpoints.values():
            await endpoint.look()

    async def _follow_state(self) -> None:
        file = identity(self._states / FILE)
        if file == self._file:
            return
        self._file = file
        try:
            state = read(self._states)
        except BrokenState as err:
            self._tell(f"keeping the last good state: {err}")
            return
        self._state = state
        self._write_labels()
        for endpoint in self._endpoints.values():
            await endpoint.update(state)

    def _write_labels(self) -> None:
        """What GPU feature discovery would put on the node; the plugin may not write to the API server itself."""
        given = [card for card in cards(self._state, self._resource) if card.resource == self._resource]
        shared = self._state.shares > 1
        labels: dict[str, str] = {}
        if given:
            first = given[0]
            profile = next((f"-MIG-{one.profile}" for one in first.gpu.mig if one.uuid == first.uuid), "")
            labels = {
                "nvidia.com/gpu.product": first.gpu.name.replace(" ", "-") + profile + ("-SHARED" if shared else ""),
                "nvidia.com/gpu.memory": str(first.memory_mib),
                "nvidia.com/gpu.count": str(len(given)),
                "nvidia.com/gpu.replicas": str(self._state.shares),
                "nvidia.com/gpu.sharing-strategy": self._state.strategy if shared else "none",
            }
        if any(gpu.mig_mode for gpu in self._state.gpus):
            labels["nvidia.com/mig.strategy"] = self._state.mig_strategy
        path = self._states / f".labels.{os.getpid()}"
        with contextlib.suppress(OSError):  # a full disk costs the labels, not the GPUs
            path.write_text(json.dumps(labels, indent=2) + "\n")
            path.rename(self._states / "labels.json")

    def _tell(self, text: str) -> None:
        if text != self._told:
            say(text)
        self._told = text


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
