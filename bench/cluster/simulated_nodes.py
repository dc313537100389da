"""Nodes that are only told of: Node, FunctionNode, the pod of the agent and its address.

Addresses are of 127.0.0.0/8, so that one server of this machine can stand for all agents (scripted_agents).
"""

import asyncio
import ipaddress
from collections.abc import Iterable
from typing import Any

from bench.cluster.server import ANY, MINE, NODES, PODS, SYSTEM
from stoker.model.device import Device, DeviceKind
from stoker.wire.cluster import COMPONENT_NODE, L_COMPONENT, L_NAME, NAME
from stoker.wire.function_node import (
    AgentStatus,
    FunctionNodeStatus,
    ImageStatus,
    NodeCondition,
    device_status,
    encode_status,
    quantise,
)
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.objects import Resource
from stoker_runtime.own_kinds import FUNCTION_NODES

GPUS = 8
PRODUCT = "NVIDIA-A100-SXM4-40GB"
_FIRST_ADDRESS = ipaddress.IPv4Address("127.20.0.1")
NOW = "2026-01-01T00:00:00Z"
DOCUMENTS: Resource[Any] = Resource("stoker.dev", "v1alpha1", "functionnodes", namespaced=False, type=ANY)


def address_of(number: int) -> str:
    return str(_FIRST_ADDRESS + number)


def number_of(address: str) -> int:
    return int(ipaddress.IPv4Address(address)) - int(_FIRST_ADDRESS)


def devices(gpus: int = GPUS) -> tuple[Device, ...]:
    cards = (
        Device(id=f"GPU-{index:08d}", kind=DeviceKind.GPU, product=PRODUCT, memory_mib=40_960) for index in range(gpus)
    )
    return (Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=262_144, millicores=64_000), *cards)


def status(number: int, images: Iterable[str] = (), gpus: int = GPUS) -> FunctionNodeStatus:
    """Of a node at rest."""
    return quantise(
        FunctionNodeStatus(
            agent=AgentStatus(pod=agent_name(number), address=address_of(number), version="0.1.0"),
            devices=tuple(device_status(device) for device in devices(gpus)),
            images=tuple(ImageStatus(reference=image) for image in images),
            conditions=(
                NodeCondition(type="Ready", status="True", reason="Ready", message="", last_transition_time=NOW),
            ),
            observed_generation=1,
        )
    )


def agent_name(number: int) -> str:
    return f"stoker-node-{number:05d}"


def node(name: str) -> dict[str, Any]:
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": str(GPUS)}
    ready = {"type": "Ready", "status": "True", "reason": "Bench", "lastHeartbeatTime": NOW, "lastTransitionTime": NOW}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": PRODUCT, "kubernetes.io/hostname": name}},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [ready]},
    }


async def make_nodes(kube: KubeClient, names: Iterable[str]) -> None:
    await asyncio.gather(*(kube.create(NODES, node(name)) for name in names))


async def make_function_nodes(kube: KubeClient, names: list[str], images: Iterable[str] = ()) -> None:
    """Each with a status, as its agent would have written it. Every other node has the images."""
    present = tuple(images)

    async def make(number: int, name: str) -> None:
        body = {"apiVersion": "stoker.dev/v1alpha1", "kind": "FunctionNode", "metadata": {"name": name}, "spec": {}}
        await kube.apply(FUNCTION_NODES, name, body, manager=MINE, force=True)
        said = encode_status(name, status(number, present if number % 2 == 0 else ()))
        await kube.apply(FUNCTION_NODES, name, said, manager=MINE, force=True, subresource="status")

    await asyncio.gather(*(make(number, name) for number, name in enumerate(names)))


async def make_agents(kube: KubeClient, names: list[str]) -> None:
    """Their pods, which nobody runs, with addresses at which scripted_agents answer."""

    async def make(number: int, name: str) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": agent_name(number), "labels": {L_NAME: NAME, L_COMPONENT: COMPONENT_NODE}},
            "spec": {
                "nodeName": name,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "agent", "image": "registry.example/stoker:bench"}],
            },
        }
        await kube.create(PODS, pod, SYSTEM)
        await asyncio.sleep(0)
        said = {
            "status": {
                "phase": "Running",
                "podIP": address_of(number),
                "podIPs": [{"ip": address_of(number)}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": NOW}],
            }
        }
        await kube.patch(PODS, agent_name(number), said, SYSTEM, subresource="status")

    await asyncio.gather(*(make(number, name) for number, name in enumerate(names)))
