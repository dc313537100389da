"""Hypothesis strategies for the values of the model. The only module of stoker that imports hypothesis."""

from hypothesis import strategies as st

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Sharing
from stoker.model.request import QueuedRequest
from stoker.testing.builders import make_request

FLOWS = ("default/a", "default/b", "default/b:cpu", "team/c")


def dns_labels(max_size: int = 63) -> st.SearchStrategy[str]:
    """DNS-1123 labels, those that look like parts of Stoker's own names among them."""
    awkward = st.sampled_from(("f", "f-cpu", "f-0", "f-0123456789", "f-0123456789-cpu", "f-0123456789-0", "cpu", "0"))
    return st.one_of(
        awkward, st.from_regex(rf"[a-z0-9](?:[-a-z0-9]{{0,{max_size - 2}}}[a-z0-9])?", fullmatch=True)
    ).filter(lambda label: len(label) <= max_size)


def revisions() -> st.SearchStrategy[str]:
    """Revisions; few, so that two functions often share one."""
    return st.sampled_from(("0123456789", "abcdef0123", "0000000000"))


@st.composite
def requests(draw: st.DrawFn, arrival_us: int | None = None) -> QueuedRequest:
    """Queued requests over FLOWS with small times, so that ties, lateness and expiry are common."""
    arrived = draw(st.integers(0, 20)) if arrival_us is None else arrival_us
    return make_request(
        flow=draw(st.sampled_from(FLOWS)),
        arrival_us=arrived,
        objective_us=arrived + draw(st.integers(-3, 20)),
        timeout_us=arrived + draw(st.integers(1, 30)),
        predicted_exec_us=draw(st.integers(1, 6)),
        start_us=draw(st.sampled_from((0, 0, 3))),
    )


@st.composite
def devices(draw: st.DrawFn) -> Device:
    """Devices of both kinds, unhealthy ones among them, of capacities that a few reservations fill."""
    kind = draw(st.sampled_from(DeviceKind))
    return Device(
        id="d",
        kind=kind,
        product="P",
        memory_mib=draw(st.integers(0, 100)),
        millicores=draw(st.integers(0, 4000)) if kind is DeviceKind.CPU else 0,
        healthy=draw(st.sampled_from((True, True, True, False))),
    )


def sharings() -> st.SearchStrategy[Sharing]:
    """Shared more often than exclusive, so that devices fill up."""
    return st.sampled_from((Sharing.SHARED, Sharing.SHARED, Sharing.EXCLUSIVE))
