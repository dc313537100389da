"""How good the nodes are that can hold a replica, against one another (stoker.placement.scoring)."""

import itertools

import msgspec
import pytest

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import GpuOption, Sharing, Variant
from stoker.placement.filtering import Fit, filter_node
from stoker.placement.scoring import Outlook, Warmth, outlook_of, points_of
from stoker.placement.view import DeviceView, NodeView, Pace, Resident, Wanted

pytestmark = pytest.mark.unit

S = 1_000_000
CPU = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8_000, millicores=4_000, node="n")


def gpu(memory_mib: int = 40_960, **fields: object) -> Device:
    base = Device(id="GPU-0", kind=DeviceKind.GPU, product="A100", memory_mib=memory_mib, node="n")
    return msgspec.structs.replace(base, **fields)


def wants(memory_mib: int = 10_000, sharing: Sharing = Sharing.EXCLUSIVE, **fields: object) -> Wanted:
    option = GpuOption(memory_mib=memory_mib, sharing=sharing)
    base = Wanted(pod_uid="pod", function="team/fn", variant=Variant.GPU, image="fn:1", options=(option,))
    return msgspec.structs.replace(base, **{"objective_us": 250_000, **fields})


def node(*devices: Device, residents: tuple[Resident, ...] = (), **fields: object) -> NodeView:
    views = tuple(DeviceView(device=device, residents=residents) for device in devices)
    return msgspec.structs.replace(NodeView(name="n", devices=views), **fields)


TIGHT, ROOMY, RISKY = node(gpu(10_001)), node(gpu()), node(gpu(id="GPU-1"), gpu(1_000))
"""Of packing 2, 1 and 0."""


def cold(view: NodeView) -> NodeView:
    return view


def image(view: NodeView) -> NodeView:
    return msgspec.structs.replace(view, images=frozenset({"fn:1"}))


def warm(view: NodeView) -> NodeView:
    return msgspec.structs.replace(image(view), warm=frozenset({"team/fn"}))


def outlook(view: NodeView, wanted: Wanted | None = None, **pace: int) -> Outlook:
    wanted = wanted or wants()
    fit = filter_node(wanted, view)
    assert isinstance(fit, Fit), fit
    return outlook_of(wanted, view, fit, Pace(**{"start_us": 4 * S, "pull_us": 30 * S, **pace}))


def waits(view: NodeView, wait_us: int) -> Outlook:
    return outlook(image(view), start_us=0, wait_us=wait_us)


@pytest.mark.parametrize("start_s", [1, 4, 33, 60, 65, 75, 120, 300, 900])
def test_a_warm_node_is_before_one_with_the_image_before_a_cold_one_however_each_is_packed(start_s: int) -> None:
    for a, b, c in itertools.product((TIGHT, ROOMY, RISKY), repeat=3):
        outlooks = [outlook(view, start_us=start_s * S) for view in (warm(a), image(b), cold(c))]
        first, second, third = points_of(outlooks)
        assert first > second > third


@pytest.mark.parametrize("late_s", [1, 20, 40, 600, 10_000])
def test_a_node_that_serves_twice_as_soon_wins_over_a_better_packed_one_however_late_both_are(late_s: int) -> None:
    soon, late = points_of([waits(RISKY, late_s * S), waits(TIGHT, 2 * late_s * S)])
    assert soon > late


def test_a_long_wait_outweighs_a_warm_image() -> None:
    waiting, quick = points_of([outlook(image(TIGHT), wait_us=120 * S), outlook(cold(RISKY), pull_us=S)])
    assert waiting < quick


def test_what_meets_the_objective_is_equally_good_whatever_it_took() -> None:
    relaxed = wants(objective_us=60 * S)
    assert points_of([outlook(cold(ROOMY), relaxed), outlook(warm(ROOMY), relaxed)]) == [9, 9]


def test_among_equally_quick_nodes_the_tighter_fit_wins() -> None:
    assert points_of([outlook(view) for view in (TIGHT, ROOMY, RISKY)]) == [10, 9, 8]


def test_a_device_that_is_open_already_is_filled_before_another_is_opened() -> None:
    wanted = wants(1_000, Sharing.SHARED)
    device = gpu(mode=DeviceMode.TIME_SLICED, shares=4)
    other = Resident(pod_uid="other", function="team/other", memory_mib=1)
    opened, closed = points_of([outlook(node(device, residents=(other,)), wanted), outlook(node(device), wanted)])
    assert opened > closed


def test_a_cpu_replica_stays_away_from_gpu_nodes() -> None:
    wanted = wants(options=(), variant=Variant.CPU, millicores=1_000)
    plain, beside_a_gpu = points_of([outlook(node(CPU), wanted), outlook(node(CPU, gpu()), wanted)])
    assert plain > beside_a_gpu


def test_points_stay_between_0_and_10() -> None:
    far_apart = [waits(view, 10**exponent) for view in (TIGHT, RISKY) for exponent in range(13)]
    assert {min(points_of(far_apart)), max(points_of(far_apart))} == {0, 10}
    assert points_of([]) == []


def test_what_a_score_came_from_is_said() -> None:
    kept = msgspec.structs.replace(image(ROOMY), promised=frozenset({"fn:1"}))
    said = outlook(kept, start_us=4 * S, start_samples=7, wait_us=S)
    assert (said.warmth, said.ready_us, said.late_us, said.start_samples) == (Warmth.CACHED, 5 * S, 4_750_000, 7)
