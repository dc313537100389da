import pytest

from stoker.model.device import fits
from stoker.model.function import GpuOption, Sharing
from stoker.testing.builders import make_cpu, make_gpu, make_reservation

pytestmark = pytest.mark.unit


def test_a_device_says_its_product_its_id_and_that_it_is_simulated() -> None:
    assert make_gpu().label == "A100-40GB/sim-0 (simulated)"
    assert make_cpu().label == "cpu"


@pytest.mark.parametrize(
    ("option", "want"),
    [
        (GpuOption(memory_mib=40_960), True),
        (GpuOption(memory_mib=40_961), False),
        (GpuOption(memory_mib=1, products=("A100-40GB", "L4")), True),
        (GpuOption(memory_mib=1, products=("L4",)), False),
    ],
)
def test_a_gpu_satisfies_an_option_by_memory_and_product(option: GpuOption, *, want: bool) -> None:
    assert make_gpu().satisfies(option) is want
    assert make_cpu().satisfies(option) is False


def test_sharing_on_the_cpu_device_is_never_exclusive() -> None:
    held = (make_reservation(device_id="cpu", millicores=1000, sharing=Sharing.EXCLUSIVE),)
    assert fits(make_cpu(), held, 1, 3000, Sharing.EXCLUSIVE)
    assert not fits(make_cpu(), held, 1, 3001, Sharing.SHARED)


def test_an_unhealthy_device_takes_nothing() -> None:
    assert not fits(make_gpu(healthy=False), (), 0, 0, Sharing.SHARED)
