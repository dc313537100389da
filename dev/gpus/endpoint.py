"""One resource of a node's plugin, kept registered: with this kubelet, and with the next one.

A kubelet that starts empties the folder of plugin sockets and forgets every plugin, so each look compares its socket
with the one that was registered with. Anything that fails is tried again at a later look. Knows no state file.
"""

import asyncio
import sys
from pathlib import Path

import grpc

from gpus.api import deviceplugin_pb2 as api
from gpus.plugin import VERSION, DevicePlugin, options
from gpus.state import NodeState

_RETRY_S = 1.0
_CALL_S = 5.0
_FORGOTTEN_S = 3.0
"""A kubelet that registered us has called ListAndWatch long before."""


class Endpoint:
    """`await look()` now and then, `await update(state)` with each new state, `await stop()`."""

    def __init__(self, plugins: Path, socket: str, state: NodeState, resource: str, base: str) -> None:
        """`plugins` is the kubelet's folder of plugin sockets, `socket` the name of ours there."""
        self._plugins = plugins
        self._socket = socket
        self._state = state
        self._resource = resource
        self._base = base
        self._plugin = DevicePlugin(state, resource, base)
        self._server: grpc.aio.Server | None = None
        self._own: tuple[int, int] | None = None
        self._kubelet: tuple[int, int] | None = None
        self._retry_at = 0.0
        self._quiet_since = 0.0
        self._told = ""

    async def update(self, state: NodeState) -> None:
        self._state = state
        await self._plugin.update(state)

    async def look(self) -> None:
        loop = asyncio.get_running_loop()
        kubelet = identity(self._plugins / "kubelet.sock")
        if kubelet is None or loop.time() < self._retry_at:
            return
        if self._server is not None and identity(self._plugins / self._socket) != self._own:
            await self.stop()
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

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await self._plugin.close()
            await server.stop(0.2)

    async def _serve(self) -> None:
        if self._server is not None:
            return
        self._plugin = DevicePlugin(self._state, self._resource, self._base)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._plugin.handler(),))
        server.add_insecure_port(f"unix:{self._plugins / self._socket}")
        await server.start()
        self._server = server
        self._own = identity(self._plugins / self._socket)

    async def _register(self) -> None:
        async with grpc.aio.insecure_channel(f"unix:{self._plugins / 'kubelet.sock'}") as channel:
            register = channel.unary_unary(
                "/v1beta1.Registration/Register",
                request_serializer=api.RegisterRequest.SerializeToString,
                response_deserializer=api.Empty.FromString,
            )
            request = api.RegisterRequest(
                version=VERSION, endpoint=self._socket, resource_name=self._resource, options=options()
            )
            await register(request, timeout=_CALL_S)

    def _tell(self, text: str, *, always: bool = False) -> None:
        if always or text != self._told:
            say(text)
        self._told = text


def say(text: str) -> None:
    print(f"simulated-gpus: {text}", file=sys.stderr, flush=True)


def identity(path: Path) -> tuple[int, int] | None:
    """Changes whenever another file comes to stand under the name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _short(err: Exception) -> str:
    return str(err.details()) if isinstance(err, grpc.aio.AioRpcError) else str(err)
