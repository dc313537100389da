"""Keeps one node's plugin registered: with this kubelet, with the next one, and with the state file as it changes.

A kubelet that starts empties the folder of plugin sockets and forgets every plugin, so each look compares its socket
with the one that was registered with. Anything that fails is tried again at the next look: nothing here ends the
process but a signal.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import sys
from pathlib import Path
from typing import IO

import grpc

from gpus.api import deviceplugin_pb2 as api
from gpus.plugin import VERSION, DevicePlugin, options
from gpus.state import FILE, BrokenState, NodeState, read

SOCKET = "stoker-gpus.sock"
"""Short: the path of a Unix socket has 108 bytes, and a cluster for tests may have its folders anywhere."""
RESOURCE = "nvidia.com/gpu"
_LOOK_S = 0.2
_RETRY_S = 1.0
_CALL_S = 5.0
_FORGOTTEN_S = 3.0
"""A kubelet that registered us has called ListAndWatch long before."""


class Registration:
    """One plugin process of one node."""

    def __init__(self, plugins: Path, states: Path, state: NodeState, resource: str = RESOURCE) -> None:
        """`plugins` is the kubelet's folder of plugin sockets, `states` the folder of the state file."""
        self._plugins = plugins
        self._states = states
        self._resource = resource
        self._state = state
        self._plugin = DevicePlugin(state)
        self._server: grpc.aio.Server | None = None
        self._own: tuple[int, int] | None = None
        self._kubelet: tuple[int, int] | None = None
        self._file = _identity(states / FILE)
        self._retry_at = 0.0
        self._quiet_since = 0.0
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
                await self._stop()

    async def _look(self) -> None:
        await self._follow_state()
        if not self._state.gpus and self._server is None:
            return  # a node without GPUs registers nothing
        loop = asyncio.get_running_loop()
        kubelet = _identity(self._plugins / "kubelet.sock")
        if kubelet is None or loop.time() < self._retry_at:
            return
        if self._server is not None and _identity(self._plugins / SOCKET) != self._own:
            await self._stop()
        if self._plugin.streams:
            self._quiet_since = loop.time()
        forgotten = loop.time() - self._quiet_since > _FORGOTTEN_S
        if self._server is not None and kubelet == self._kubelet and not forgotten:
            return
        try:
            await self._serve()
            await self._register()
        except (grpc.RpcError, OSError, RuntimeError) as err:
            self._retry_at = loop.time() + _RETRY_S
            self._tell(f"registering {self._resource} failed, trying again: {_short(err)}")
            return
        self._kubelet = kubelet
        self._quiet_since = loop.time()
        self._tell(f"registered {len(self._plugin.devices())} devices of {self._resource}", always=True)

    async def _follow_state(self) -> None:
        file = _identity(self._states / FILE)
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
        await self._plugin.update(state)

    async def _serve(self) -> None:
        if self._server is not None:
            return
        self._plugin = DevicePlugin(self._state)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._plugin.handler(),))
        server.add_insecure_port(f"unix:{self._plugins / SOCKET}")
        await server.start()
        self._server = server
        self._own = _identity(self._plugins / SOCKET)

    async def _register(self) -> None:
        async with grpc.aio.insecure_channel(f"unix:{self._plugins / 'kubelet.sock'}") as channel:
            register = channel.unary_unary(
                "/v1beta1.Registration/Register",
                request_serializer=api.RegisterRequest.SerializeToString,
                response_deserializer=api.Empty.FromString,
            )
            request = api.RegisterRequest(
                version=VERSION, endpoint=SOCKET, resource_name=self._resource, options=options()
            )
            await register(request, timeout=_CALL_S)

    async def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await self._plugin.close()
            await server.stop(0.2)

    def _write_labels(self) -> None:
        """What GPU feature discovery would put on the node; the plugin may not write to the API server itself."""
        first = self._state.gpus[0] if self._state.gpus else None
        shared = self._state.shares > 1
        labels = first and {
            "nvidia.com/gpu.product": first.name.replace(" ", "-") + ("-SHARED" if shared else ""),
            "nvidia.com/gpu.memory": str(first.memory_mib),
            "nvidia.com/gpu.count": str(len(self._state.gpus)),
            "nvidia.com/gpu.replicas": str(self._state.shares),
            "nvidia.com/gpu.sharing-strategy": self._state.strategy if shared else "none",
        }
        path = self._states / f".labels.{os.getpid()}"
        with contextlib.suppress(OSError):  # a full disk costs the labels, not the GPUs
            path.write_text(json.dumps(labels or {}, indent=2) + "\n")
            path.rename(self._states / "labels.json")

    def _tell(self, text: str, *, always: bool = False) -> None:
        if always or text != self._told:
            print(f"simulated-gpus: {text}", file=sys.stderr, flush=True)
        self._told = text


def _identity(path: Path) -> tuple[int, int] | None:
    """Changes whenever another file comes to stand under the name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _short(err: Exception) -> str:
    return str(err.details()) if isinstance(err, grpc.aio.AioRpcError) else str(err)
