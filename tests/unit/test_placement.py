"""Which nodes can hold a replica, by facts alone (stoker.placement.filtering)."""

import msgspec
import pytest

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import GpuOption, Sharing, Variant
from stoker.placement.filtering import Fit, Rejection, filter_node
from stoker.placement.options import most_memory_mib
from stoker.placement.view import DeviceView, NodeView, Resident, Wanted
from stoker.reasons import Reason

pytestmark = pytest.mark.unit


def gpu(name: str = "GPU-0", memory_mib: int = 40_960, **fields: object) -> Device:
    base = Device(id=name, kind=DeviceKind.GPU, product="A100", memory_mib=memory_mib, node="n")
    return msgspec.structs.replace(base, **fields)


def shared(name: str = "GPU-0", shares: int = 4, **fields: object) -> Device:
    return msgspec.structs.replace(gpu(name), mode=DeviceMode.TIME_SLICED, shares=shares, **fields)


def resident(memory_mib: int = 10_000, tenant: str = "team", sharing: Sharing = Sharing.SHARED) -> Resident:
    return Resident(pod_uid="other", function=f"{tenant}/other", memory_mib=memory_mib, sharing=sharing)


def wants(memory_mib: int = 10_000, sharing: Sharing = Sharing.EXCLUSIVE, **fields: object) -> Wanted:
    option = GpuOption(memory_mib=memory_mib, sharing=sharing)
    base = Wanted(pod_uid="pod", function="team/fn", variant=Variant.GPU, image="fn:1", options=(option,))
    return msgspec.structs.replace(base, **fields)


def node(*views: DeviceView | Device, **fields: object) -> NodeView:
    devices = tuple(view if isinstance(view, DeviceView) else DeviceView(device=view) for view in views)
    return msgspec.structs.replace(NodeView(name="n", devices=devices), **fields)


def on(device: Device, *residents: Resident) -> DeviceView:
    return DeviceView(device=device, residents=residents)


def refused(wanted: Wanted, view: NodeView, cross_tenant: frozenset[str] = frozenset()) -> Rejection:
    verdict = filter_node(wanted, view, cross_tenant)
    assert isinstance(verdict, Rejection), verdict
    return verdict


def passed(wanted: Wanted, view: NodeView, cross_tenant: frozenset[str] = frozenset()) -> Fit:
    verdict = filter_node(wanted, view, cross_tenant)
    assert isinstance(verdict, Fit), verdict
    return verdict


def test_a_free_whole_gpu_that_fits_is_enough() -> None:
    assert passed(wants(), node(gpu())).all_fit


def test_a_node_whose_agent_is_away_holds_nothing() -> None:
    verdict = refused(wants(), node(gpu(), away="its agent has not spoken for 4 s"))
    assert (verdict.reason, verdict.for_ever) == (Reason.NODE_LOST, False)


def test_a_gpu_that_is_too_small_is_refused_for_ever() -> None:
    verdict = refused(wants(50_000), node(gpu()))
    assert (verdict.reason, verdict.for_ever) == (Reason.NO_FITTING_DEVICE, True)
    assert "50000 MiB" in verdict.detail
    assert "40960 MiB" in verdict.detail


def test_a_busy_gpu_is_waited_for() -> None:
    verdict = refused(wants(), node(on(gpu(), resident())))
    assert (verdict.reason, verdict.for_ever) == (Reason.WAITING_FOR_GPU, False)


def test_a_product_that_is_not_wanted_is_refused() -> None:
    option = GpuOption(memory_mib=1, products=("H100",))
    assert refused(wants(options=(option,)), node(gpu())).for_ever


def test_the_second_option_is_taken_where_the_first_does_not_fit() -> None:
    options = (GpuOption(memory_mib=80_000), GpuOption(memory_mib=20_000))
    assert passed(wants(options=options), node(gpu())).option == options[1]


def test_of_two_options_the_busy_one_is_what_is_waited_for() -> None:
    options = (GpuOption(memory_mib=80_000), GpuOption(memory_mib=20_000))
    assert refused(wants(options=options), node(on(gpu(), resident()))).reason is Reason.WAITING_FOR_GPU


def test_one_of_two_gpus_fits_and_the_node_passes_with_a_warning_mark() -> None:
    # The kubelet may choose the small one: the pod is then found unfit and replaced.
    fit = passed(wants(20_000), node(gpu("GPU-0", 16_000), gpu("GPU-1", 40_000)))
    assert not fit.all_fit


def test_a_quarantined_gpu_is_no_free_gpu() -> None:
    sick = gpu("GPU-0", healthy=False, reason="XID 79")
    verdict = refused(wants(), node(sick))
    assert verdict.reason is Reason.QUARANTINED
    assert "XID 79" in verdict.detail
    assert passed(wants(), node(sick, gpu("GPU-1")))
    assert refused(wants(), node(sick, on(gpu("GPU-1"), resident()))).reason is Reason.WAITING_FOR_GPU


def test_a_pod_whose_device_is_not_known_yet_takes_one_that_fits() -> None:
    view = node(gpu("GPU-0"), gpu("GPU-1"), unplaced=(resident(sharing=Sharing.EXCLUSIVE),))
    assert passed(wants(), view)
    view = node(gpu("GPU-0"), unplaced=(resident(sharing=Sharing.EXCLUSIVE),))
    assert refused(wants(), view).reason is Reason.WAITING_FOR_GPU


def test_several_gpus_of_one_node_must_all_be_free() -> None:
    two = (GpuOption(memory_mib=10_000, count=2),)
    assert passed(wants(options=two), node(gpu("GPU-0"), gpu("GPU-1")))
    assert refused(wants(options=two), node(gpu("GPU-0"), on(gpu("GPU-1"), resident()))).reason is (
        Reason.WAITING_FOR_GPU
    )
    assert refused(wants(options=two), node(gpu("GPU-0"))).for_ever


def test_an_exclusive_function_never_goes_to_a_time_sliced_node() -> None:
    assert refused(wants(), node(shared())).for_ever


def test_shares_are_filled_up_to_memory_and_count() -> None:
    wanted = wants(10_000, Sharing.SHARED)
    assert passed(wanted, node(on(shared(), resident(30_000))))
    assert refused(wanted, node(on(shared(), resident(31_000)))).reason is Reason.WAITING_FOR_GPU
    full = on(shared(shares=2), resident(1), resident(1))
    assert refused(wanted, node(full)).reason is Reason.WAITING_FOR_GPU


def test_every_device_of_a_shared_node_with_a_free_share_must_fit() -> None:
    wanted = wants(20_000, Sharing.SHARED)
    roomy, tight = on(shared("GPU-0")), on(shared("GPU-1"), resident(30_000))
    assert refused(wanted, node(roomy, tight)).reason is Reason.WAITING_FOR_GPU
    closed = on(shared("GPU-1", shares=1), resident(30_000))
    assert passed(wanted, node(roomy, closed))


def test_a_shared_node_with_a_quarantined_device_is_not_risked() -> None:
    sick = shared("GPU-1", healthy=False, reason="ECC")
    assert refused(wants(1, Sharing.SHARED), node(shared("GPU-0"), sick)).reason is Reason.QUARANTINED


def test_an_unplaced_pod_may_be_on_any_device_of_a_shared_node() -> None:
    view = node(shared("GPU-0"), shared("GPU-1"), unplaced=(resident(35_000),))
    assert refused(wants(10_000, Sharing.SHARED), view).reason is Reason.WAITING_FOR_GPU


def test_tenants_share_a_device_only_where_both_are_allowed_to() -> None:
    wanted, view = wants(1, Sharing.SHARED), node(on(shared(), resident(tenant="them")))
    assert "them" in refused(wanted, view).detail
    assert refused(wanted, view, frozenset({"them"}))
    assert passed(wanted, view, frozenset({"them", "team"}))


def test_mps_gives_equal_shares_to_one_tenant() -> None:
    device = gpu(mode=DeviceMode.MPS, shares=4)
    assert passed(wants(10_000, Sharing.SHARED), node(device))
    assert refused(wants(10_241, Sharing.SHARED), node(device)).for_ever
    both = frozenset({"them", "team"})
    assert refused(wants(1, Sharing.SHARED), node(on(device, resident(1, "them"))), both)


def test_a_cpu_replica_needs_free_cores() -> None:
    cpu = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8_000, millicores=4_000, node="n")
    wanted = wants(options=(), variant=Variant.CPU, millicores=2_000)
    assert passed(wanted, node(cpu)).option is None
    busy = Resident(pod_uid="o", function="team/o", memory_mib=0, millicores=3_000)
    assert refused(wanted, node(on(cpu, busy))).reason is Reason.WAITING_FOR_NODE
    assert refused(msgspec.structs.replace(wanted, millicores=5_000), node(cpu)).for_ever


# What an option takes, on devices that differ.

LARGE_OR_SMALL = (
    GpuOption(memory_mib=24_000, products=("A100",), sharing=Sharing.SHARED),
    GpuOption(memory_mib=10_000, products=("T4",), sharing=Sharing.SHARED),
)


def t4(name: str = "GPU-0") -> Device:
    return shared(name, product="T4", memory_mib=16_000)


def test_on_a_shared_device_the_first_option_that_it_satisfies_counts_as_for_its_agent() -> None:
    same_card = (
        GpuOption(memory_mib=24_000, sharing=Sharing.SHARED),
        GpuOption(memory_mib=10_000, sharing=Sharing.SHARED),
    )
    assert passed(wants(options=same_card), node(shared())).option == same_card[0]
    # Its agent would reserve 24,000 MiB for it, whatever the second option says.
    verdict = refused(wants(options=same_card), node(on(shared(), resident(20_000))))
    assert (verdict.reason, verdict.for_ever) == (Reason.WAITING_FOR_GPU, False)


def test_shared_devices_that_differ_each_take_the_option_that_is_theirs() -> None:
    both = node(shared("GPU-0"), t4("GPU-1"))
    assert passed(wants(options=LARGE_OR_SMALL), both).option == LARGE_OR_SMALL[0]
    assert passed(wants(options=LARGE_OR_SMALL), node(t4())).option == LARGE_OR_SMALL[1]
    assert refused(wants(options=LARGE_OR_SMALL[:1]), both).for_ever


def test_of_a_replica_whose_device_is_not_known_the_most_that_a_device_here_would_take_counts() -> None:
    devices = (shared("GPU-0"), t4("GPU-1"))
    assert most_memory_mib(LARGE_OR_SMALL, devices) == 24_000
    assert most_memory_mib(LARGE_OR_SMALL, devices[1:]) == 10_000
    assert most_memory_mib(LARGE_OR_SMALL, ()) == 24_000


def test_what_was_given_to_a_node_a_moment_ago_stands_in_the_way_of_its_own_kind_only() -> None:
    cpu = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8_000, millicores=4_000, node="n")
    cores = Resident(pod_uid="c", function="them/c", memory_mib=0, millicores=3_000, count=0)
    view = node(cpu, shared()).with_provisional((cores,))
    wanted = wants(options=(), variant=Variant.CPU, millicores=2_000)
    assert refused(wanted, view).reason is Reason.WAITING_FOR_NODE
    assert passed(wants(40_000, Sharing.SHARED), view)
    view = node(cpu, shared()).with_provisional((resident(30_000),))
    assert passed(wanted, view)
    assert refused(wants(20_000, Sharing.SHARED), view).reason is Reason.WAITING_FOR_GPU
