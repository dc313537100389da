"""Which functions and variants can never run on the devices that there are, whatever else runs."""

import pytest

from stoker.model.device import Device, DeviceKind
from stoker.model.fitting import misfit, unplaceable
from stoker.model.function import ContainerSpec, CpuVariant, Function, FunctionSpec, GpuOption, Slo, Variant

pytestmark = pytest.mark.unit

GPU = Device(id="sim-0", kind=DeviceKind.GPU, product="A100-40GB", memory_mib=40960, simulated=True)
CPU = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8192, millicores=1750)


def function(*, gpu_mib: int | None = 4096, cpu_millis: int | None = None) -> Function:
    cores = ContainerSpec(command=("serve",), cpu_millis=cpu_millis or 1000)
    return Function(
        namespace="default",
        name="f",
        uid="u",
        generation=1,
        revision="r",
        spec=FunctionSpec(
            container=cores,
            gpu=() if gpu_mib is None else (GpuOption(memory_mib=gpu_mib),),
            cpu_variant=None if cpu_millis is None or gpu_mib is None else CpuVariant(container=cores),
            slo=Slo(latency_us=1),
        ),
    )


def test_what_fits_a_device_is_no_misfit() -> None:
    assert misfit(function(), [GPU, CPU]) is None
    assert misfit(function(gpu_mib=None), [CPU]) is None
    assert unplaceable([function(), function(cpu_millis=500)], [GPU, CPU]) == {}


def test_without_any_gpu_the_reason_names_the_option() -> None:
    reason = misfit(function(), [CPU])
    assert reason is not None
    assert "--gpus" in reason


def test_a_cpu_variant_makes_a_function_without_a_gpu_servable_and_its_gpu_form_unplaceable() -> None:
    diverted = function(cpu_millis=500)
    assert misfit(diverted, [CPU]) is None
    assert list(unplaceable([diverted], [CPU])["default/f"]) == [Variant.GPU]


def test_a_function_whose_both_forms_are_too_large_is_a_misfit_by_its_primary() -> None:
    reason = misfit(function(gpu_mib=999_999, cpu_millis=64_000), [GPU, CPU])
    assert reason is not None
    assert "999999 MiB" in reason
