"""A kubelet's two gRPC services in a folder, for what talks to it: device plugins, and the pod-resources client.

It does what was seen of the real one (1.37): a start empties the folder of plugin sockets, Register makes it dial the
plugin and call ListAndWatch, a lost stream makes the devices unhealthy, admission asks for a preference and allocates.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc

from gpus.api import deviceplugin_pb2 as plugin_api
from stoker_node.kubelet import podresources_pb2 as resources_api

GPU = "nvidia.com/gpu"


class AdmissionFailed(Exception):  # noqa: N818  the name states the fact
    """The pod would be Failed with UnexpectedAdmissionError."""


class FakeKubelet:
    """`folder` stands for /var/lib/kubelet."""

    def __init__(self, folder: Path) -> None:
        self.plugins = folder / "device-plugins"
        self.socket = folder / "pod-resources" / "kubelet.sock"
        self.registrations = 0
        self.refuse = ""
        """Register answers with this error."""
        self.delay_s = 0.0
        """Before each answer of pod-resources."""
        self.garbage = False
        """Pod-resources answers with bytes that are no message."""
        self.devices: dict[str, dict[str, bool]] = {}
        """Resource to device id to whether it is healthy."""
        self.held: dict[tuple[str, str, str, str], list[str]] = {}
        """(namespace, pod, container, resource) to device ids. Survives a restart, as the checkpoint does."""
        self._endpoints: dict[str, tuple[str, plugin_api.DevicePluginOptions]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._servers: list[grpc.aio.Server] = []
        self._changed = asyncio.Event()

    async def start(self) -> None:
        shutil.rmtree(self.plugins, ignore_errors=True)
        self.plugins.mkdir(parents=True)
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        registration = {"Register": (self._register, plugin_api.RegisterRequest)}
        lister = {
            "List": (self._list, resources_api.ListPodResourcesRequest),
            "GetAllocatableResources": (self._allocatable, resources_api.AllocatableResourcesRequest),
        }
        await self._serve("v1beta1.Registration", registration, self.plugins / "kubelet.sock")
        await self._serve("v1.PodResourcesLister", lister, self.socket)

    async def stop(self) -> None:
        for watch in self._watches.values():
            watch.cancel()
        if self._watches:
            await asyncio.wait(self._watches.values())
        self._watches.clear()
        self._endpoints.clear()
        self.devices.clear()
        for server in self._servers:
            await server.stop(0)
        self._servers.clear()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def until(self, resource: str, wanted: dict[str, bool], timeout_s: float = 5.0) -> None:
        """Wait until the resource's devices are exactly these."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.devices.get(resource) != wanted:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{resource} is {self.devices.get(resource)}, not {wanted}") from None

    def hold(self, namespace: str, pod: str, container: str, device_ids: Iterable[str], resource: str = GPU) -> None:
        """A pod as pod-resources lists it, without any plugin."""
        self.held[(namespace, pod, container, resource)] = list(device_ids)

    def release(self, namespace: str, pod: str) -> None:
        self.held = {key: ids for key, ids in self.held.items() if key[:2] != (namespace, pod)}

    async def admit(
        self, pod: str, count: int = 1, *, namespace: str = "default", resource: str = GPU
    ) -> dict[str, str]:
        """Give a pod devices as the kubelet does; the environment that its container gets. Raises AdmissionFailed."""
        taken = {one for key, ids in self.held.items() if key[3] == resource for one in ids}
        free = sorted(one for one, healthy in self.devices.get(resource, {}).items() if healthy and one not in taken)
        if len(free) < count:
            raise AdmissionFailed(f"{count} of {resource} asked for, {len(free)} free")
        endpoint, options = self._endpoints[resource]
        async with grpc.aio.insecure_channel(f"unix:{self.plugins / endpoint}") as channel:
            chosen = free[:count]
            if options.get_preferred_allocation_available:
                chosen = await self._preference(channel, free, count) or chosen
            request = plugin_api.AllocateRequest(
                container_requests=[plugin_api.ContainerAllocateRequest(devices_ids=chosen)]
            )
            try:
                answer = await _call(channel, "Allocate", plugin_api.AllocateResponse)(request, timeout=5)
            except grpc.aio.AioRpcError as err:
                raise AdmissionFailed(err.details()) from err
        self.hold(namespace, pod, "main", chosen, resource)
        (container,) = answer.container_responses
        given = [field.name for field, _ in container.ListFields()]
        assert given == ["envs"], f"the plugin gave more than an environment: {given}"
        return dict(container.envs)

    async def _preference(self, channel: grpc.aio.Channel, free: list[str], count: int) -> list[str]:
        request = plugin_api.PreferredAllocationRequest(
            container_requests=[
                plugin_api.ContainerPreferredAllocationRequest(available_deviceIDs=free, allocation_size=count)
            ]
        )
        answer = await _call(channel, "GetPreferredAllocation", plugin_api.PreferredAllocationResponse)(
            request, timeout=5
        )
        chosen = list(answer.container_responses[0].deviceIDs)
        assert len(chosen) == count
        assert set(chosen) <= set(free)
        return chosen

    async def _serve(self, service: str, calls: dict[str, tuple[Any, Any]], socket: Path) -> None:
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                call, request_deserializer=request.FromString, response_serializer=self._bytes_of
            )
            for name, (call, request) in calls.items()
        }
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        self._servers.append(server)

    def _bytes_of(self, message: Any) -> bytes:
        garbage = self.garbage and not isinstance(message, plugin_api.Empty)
        return b"\xff\xff\xff\xff" if garbage else bytes(message.SerializeToString())

    async def _register(self, request: plugin_api.RegisterRequest, context: Any) -> plugin_api.Empty:
        if self.refuse:
            await context.abort(grpc.StatusCode.UNKNOWN, self.refuse)
        assert request.version == "v1beta1"
        self.registrations += 1
        old = self._watches.pop(request.resource_name, None)
        if old is not None:
            old.cancel()
        self._endpoints[request.resource_name] = (request.endpoint, request.options)
        self._watches[request.resource_name] = asyncio.create_task(
            self._watch(request.resource_name, self.plugins / request.endpoint)
        )
        return plugin_api.Empty()

    async def _watch(self, resource: str, socket: Path) -> None:
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            watch = channel.unary_stream(
                "/v1beta1.DevicePlugin/ListAndWatch",
                request_serializer=plugin_api.Empty.SerializeToString,
                response_deserializer=plugin_api.ListAndWatchResponse.FromString,
            )
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for answer in watch(plugin_api.Empty()):
                    self.devices[resource] = {one.ID: one.health == "Healthy" for one in answer.devices}
                    self._changed.set()
            self.devices[resource] = dict.fromkeys(self.devices.get(resource, {}), False)
            self._changed.set()

    async def _list(self, _: Any, __: Any) -> resources_api.ListPodResourcesResponse:
        await asyncio.sleep(self.delay_s)
        pods: dict[tuple[str, str], resources_api.PodResources] = {}
        for (namespace, name, container, resource), ids in self.held.items():
            pod = pods.setdefault((namespace, name), resources_api.PodResources(namespace=namespace, name=name))
            entries = [resources_api.ContainerDevices(resource_name=resource, device_ids=[one]) for one in ids]
            pod.containers.append(resources_api.ContainerResources(name=container, devices=entries))
        return resources_api.ListPodResourcesResponse(pod_resources=pods.values())

    async def _allocatable(self, _: Any, __: Any) -> resources_api.AllocatableResourcesResponse:
        await asyncio.sleep(self.delay_s)
        return resources_api.AllocatableResourcesResponse(
            devices=[
                resources_api.ContainerDevices(resource_name=resource, device_ids=[one])
                for resource, devices in self.devices.items()
                for one, healthy in devices.items()
                if healthy
            ]
        )


def _call(channel: grpc.aio.Channel, name: str, answer: Any) -> Any:
    return channel.unary_unary(
        f"/v1beta1.DevicePlugin/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
