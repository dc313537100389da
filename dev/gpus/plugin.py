"""The device plugin's side of the kubelet's API (deviceplugin/v1beta1): what it answers, for the state it was given.

Knows no file and no kubelet: gpus.endpoint starts it, tells the kubelet, and passes every new state on.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from gpus.api import deviceplugin_pb2 as api
from gpus.preferred import RESOURCE, card_of, cards, device_ids, preferred
from gpus.state import NodeState

SERVICE = "v1beta1.DevicePlugin"
VERSION = "v1beta1"


def options() -> api.DevicePluginOptions:
    return api.DevicePluginOptions(get_preferred_allocation_available=True)


class DevicePlugin:
    """Answers for one resource."""

    def __init__(self, state: NodeState, resource: str = RESOURCE, base: str = RESOURCE) -> None:
        """`base` is the resource of whole GPUs."""
        self._state = state
        self._resource = resource
        self._base = base
        self._changed = asyncio.Condition()
        self._closed = False
        self.streams = 0
        """How many ListAndWatch calls are open: none for long means that the kubelet forgot us."""

    async def update(self, state: NodeState) -> None:
        async with self._changed:
            self._state = state
            self._changed.notify_all()

    async def close(self) -> None:
        """End the open streams, so that a server that stops need not cut them."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def handler(self) -> grpc.GenericRpcHandler:
        def unary(call: Any, request: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                call, request_deserializer=request.FromString, response_serializer=_serialize
            )

        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetDevicePluginOptions": unary(self._options, api.Empty),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                    self._list_and_watch,
                    request_deserializer=api.Empty.FromString,
                    response_serializer=_serialize,
                ),
                "GetPreferredAllocation": unary(self._preferred, api.PreferredAllocationRequest),
                "Allocate": unary(self._allocate, api.AllocateRequest),
                "PreStartContainer": unary(self._pre_start, api.PreStartContainerRequest),
            },
        )

    def devices(self) -> list[api.Device]:
        healthy = {card.uuid for card in cards(self._state, self._base) if card.gpu.schedulable}
        return [
            api.Device(ID=device_id, health="Healthy" if card_of(device_id) in healthy else "Unhealthy")
            for device_id in self._ids()
        ]

    def _ids(self) -> list[str]:
        return device_ids(self._state, self._resource, self._base)

    async def _options(self, _: api.Empty, __: Any) -> api.DevicePluginOptions:
        return options()

    async def _list_and_watch(self, _: api.Empty, __: Any) -> AsyncIterator[api.ListAndWatchResponse]:
        self.streams += 1
        try:
            sent = None
            while not self._closed:
                devices = self.devices()
                if devices != sent:
                    sent = devices
                    yield api.ListAndWatchResponse(devices=devices)
                async with self._changed:
                    await self._changed.wait_for(lambda sent=sent: self._closed or self.devices() != sent)  # type: ignore[misc]
        finally:
            self.streams -= 1

    async def _preferred(self, request: api.PreferredAllocationRequest, _: Any) -> api.PreferredAllocationResponse:
        return api.PreferredAllocationResponse(
            container_responses=[
                api.ContainerPreferredAllocationResponse(
                    deviceIDs=preferred(
                        self._state, one.available_deviceIDs, one.must_include_deviceIDs, one.allocation_size
                    )
                )
                for one in request.container_requests
            ]
        )

    async def _allocate(self, request: api.AllocateRequest, context: Any) -> api.AllocateResponse:
        """Nothing but NVIDIA_VISIBLE_DEVICES: no mount and no device node that a tenant could use."""
        known = set(self._ids())
        unknown = [one for container in request.container_requests for one in container.devices_ids if one not in known]
        if unknown:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unknown devices {', '.join(unknown)}")
        if self._state.allocate == "fail":
            await context.abort(grpc.StatusCode.INTERNAL, "the state file says that Allocate fails")
        return api.AllocateResponse(
            container_responses=[
                api.ContainerAllocateResponse(
                    envs={"NVIDIA_VISIBLE_DEVICES": ",".join(dict.fromkeys(map(card_of, container.devices_ids)))}
                )
                for container in request.container_requests
            ]
        )

    async def _pre_start(self, _: api.PreStartContainerRequest, __: Any) -> api.PreStartContainerResponse:
        return api.PreStartContainerResponse()


def _serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
