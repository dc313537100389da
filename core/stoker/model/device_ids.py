"""What the kubelet's device ids say: the card, the share of it, and how the node's cards are shared.

NVIDIA's device plugin names a whole GPU by its UUID, a share of a time-sliced or MPS-served one `UUID::N`, and a MIG
instance by the instance's own UUID. Nothing here knows the kubelet.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from stoker.model.device import DeviceMode

_SHARE = re.compile(r"(?P<card>[^:]+)::(?P<share>[0-9]{1,6})", re.ASCII)


class DeviceId(Struct, frozen=True):
    """One id as a device plugin advertises it."""

    card: str
    """UUID of the GPU or MIG instance, as NVML and CUDA_VISIBLE_DEVICES know it."""
    share: int | None = None
    """Which share of the card; None where the card is given away whole."""


class NodeSharing(Struct, frozen=True):
    """The sharing of all cards of one resource on one node."""

    mode: DeviceMode = DeviceMode.WHOLE
    shares: Mapping[str, int] = {}
    """Card to the number of replicas that may hold it at once: 1 for whole ones."""


def parse_device_id(text: str) -> DeviceId:
    """`GPU-u` -> (GPU-u, None), `GPU-u::3` -> (GPU-u, 3), `MIG-u` -> (MIG-u, None).

    What has another form is some other plugin's name of a whole device, and is kept as it is.
    """
    match = _SHARE.fullmatch(text)
    return DeviceId(text) if match is None else DeviceId(match["card"], int(match["share"]))


def sharing_of(device_ids: Iterable[str], *, mps: bool = False) -> NodeSharing:
    """The sharing mode that the ids of one resource show (those the kubelet says are allocatable).

    Time-slicing and MPS write the same ids: `mps` says that the node's labels name MPS. An unhealthy card is not
    allocatable, so it is missing here: its number of shares is to be kept from before.
    """
    parsed = {parse_device_id(text) for text in device_ids}
    counts = Counter(one.card for one in parsed)
    mode = DeviceMode.WHOLE
    if any(one.share is not None for one in parsed):
        mode = DeviceMode.MPS if mps else DeviceMode.TIME_SLICED
    return NodeSharing(mode, dict(counts))
