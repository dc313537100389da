import pytest

from stoker.model.function import Variant
from stoker.names import parse_replica_id
from stoker.testing.builders import make_function, make_replica

pytestmark = pytest.mark.unit

GPU, CPU = Variant.GPU, Variant.CPU


def test_the_variants_of_a_function_are_those_that_its_spec_has_the_primary_first() -> None:
    assert make_function().variants == (GPU,)
    assert make_function(cpu_variant=True).variants == (GPU, CPU)
    assert make_function(gpu=()).variants == (CPU,)
    assert (make_function(cpu_variant=True).primary, make_function(gpu=()).primary) == (GPU, CPU)


def test_bounds_and_concurrency_of_a_cpu_variant_beside_a_gpu_one_are_its_own() -> None:
    both = make_function(cpu_variant=True, min_replicas=2, max_replicas=3, concurrency=4)
    assert (both.min_replicas_of(GPU), both.max_replicas_of(GPU), both.concurrency_of(GPU)) == (2, 3, 4)
    assert (both.min_replicas_of(CPU), both.max_replicas_of(CPU), both.concurrency_of(CPU)) == (0, 10, 1)
    assert both.container_of(CPU) is both.spec.cpu_variant.container if both.spec.cpu_variant else False


def test_a_function_on_cpus_only_takes_its_bounds_from_scaling() -> None:
    function = make_function(gpu=(), min_replicas=2, max_replicas=3, concurrency=4)
    assert (function.min_replicas_of(CPU), function.max_replicas_of(CPU), function.concurrency_of(CPU)) == (2, 3, 4)
    assert function.container_of(CPU) is function.spec.container


def test_an_unknown_class_has_no_objective() -> None:
    function = make_function(latency_us=5)
    assert function.objective_us(None) == 5
    assert function.objective_us("gold") is None


@pytest.mark.parametrize(("path", "want"), [("/health", False), ("/health/x", True), ("/", True), ("/metrics", False)])
def test_no_wake_paths_are_exact(path: str, *, want: bool) -> None:
    assert make_function().wakes(path) is want


def test_a_replica_of_the_builder_has_the_name_of_its_function() -> None:
    replica = make_replica(make_function(cpu_variant=True), 3, variant=CPU)
    assert parse_replica_id(replica.spec.id).beside_gpu
    assert (replica.spec.function, replica.spec.ordinal) == ("default/f", 3)
