"""Which pod holds which device: the kubelet's pod-resources API (v1) over its Unix socket.

A kubelet that is away, slow or answers nonsense is an everyday value (KubeletAway), never an exception: it restarts
with every upgrade. The channel finds the next kubelet by itself. Knows neither replicas nor the API server; pods come
by namespace and name, because the kubelet gives no UID here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import grpc
from msgspec import Struct

from stoker_node.kubelet import podresources_pb2 as api

SOCKET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
_OPTIONS = (
    # A kubelet that comes back is found within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.enable_http_proxy", 0),
)


class PodDevices(Struct, frozen=True):
    """The devices of one resource that one container holds. Being listed does not mean that it runs yet."""

    namespace: str
    pod: str
    container: str
    resource: str
    """As in `nvidia.com/gpu`."""
    device_ids: tuple[str, ...]
    """Sorted. See stoker.model.device_ids."""


class Allocatable(Struct, frozen=True):
    """The healthy devices of one resource that the kubelet gives to pods, held ones included."""

    resource: str
    device_ids: tuple[str, ...]


class KubeletAway(Struct, frozen=True):
    """There was no usable answer. Ask again later; what was known before stays the best knowledge."""

    reason: str


class _Message(Protocol):
    def SerializeToString(self) -> bytes: ...  # noqa: N802  protobuf's name


_Answer = TypeVar("_Answer")


class PodResources:
    """One channel to one kubelet, for the life of the agent. Calls may run at the same time."""

    def __init__(self, socket: Path = SOCKET, *, timeout_s: float = 5.0) -> None:
        """Does not connect yet. `timeout_s` bounds each call."""
        self._socket = socket
        self._timeout_s = timeout_s
        self._channel: grpc.aio.Channel | None = None

    async def list(self) -> tuple[PodDevices, ...] | KubeletAway:
        """What each container of each active pod of the node holds, ordered by namespace, pod, container, resource."""
        answer = await self._call("List", api.ListPodResourcesRequest(), api.ListPodResourcesResponse.FromString)
        return answer if isinstance(answer, KubeletAway) else _pod_devices(answer)

    async def allocatable(self) -> tuple[Allocatable, ...] | KubeletAway:
        """The devices by resource. An unhealthy one is missing."""
        answer = await self._call(
            "GetAllocatableResources",
            api.AllocatableResourcesRequest(),
            api.AllocatableResourcesResponse.FromString,
        )
        if isinstance(answer, KubeletAway):
            return answer
        found: dict[str, set[str]] = {}
        for device in answer.devices:
            found.setdefault(device.resource_name, set()).update(device.device_ids)
        return tuple(Allocatable(resource, tuple(sorted(ids))) for resource, ids in sorted(found.items()))

    async def close(self) -> None:
        """Cancels the calls that run. Twice is harmless; a later call connects anew."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _call(self, name: str, request: _Message, decode: Callable[[bytes], _Answer]) -> _Answer | KubeletAway:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(f"unix:{self._socket}", options=_OPTIONS)
        method: grpc.aio.UnaryUnaryMultiCallable[_Message, bytes] = self._channel.unary_unary(
            f"/v1.PodResourcesLister/{name}", request_serializer=_serialize
        )
        try:
            return decode(await method(request, timeout=self._timeout_s))
        except grpc.aio.AioRpcError as err:
            return KubeletAway(
                f"the kubelet does not answer {name} at {self._socket}: {err.code().name}: {err.details()}"
            )
        except Exception as err:  # noqa: BLE001  protobuf raises classes that differ by its implementation
            return KubeletAway(f"the kubelet's answer to {name} at {self._socket} makes no sense: {err!r}")


def _serialize(request: _Message) -> bytes:
    return request.SerializeToString()


def _pod_devices(answer: api.ListPodResourcesResponse) -> tuple[PodDevices, ...]:
    found: dict[tuple[str, str, str, str], set[str]] = {}
    for pod in answer.pod_resources:
        for container in pod.containers:
            # Two devices come as two entries of one id each.
            for device in container.devices:
                key = (pod.namespace, pod.name, container.name, device.resource_name)
                found.setdefault(key, set()).update(device.device_ids)
    return tuple(PodDevices(*key, tuple(sorted(ids))) for key, ids in sorted(found.items()))
