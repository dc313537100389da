import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.function import Variant
from stoker.names import flow_of, is_dns_label, parse_replica_id, pod_name, replica_id, revision_of
from stoker.testing.strategies import dns_labels, revisions

pytestmark = pytest.mark.property

GPU, CPU = Variant.GPU, Variant.CPU
variants = st.sampled_from([(GPU, GPU), (CPU, CPU), (CPU, GPU)])
replicas = st.tuples(dns_labels(), dns_labels(), variants, revisions(), st.integers(0, 12))
Replica = tuple[str, str, tuple[Variant, Variant], str, int]


def id_of(replica: Replica) -> str:
    namespace, name, (variant, primary), revision, ordinal = replica
    return replica_id(f"{namespace}/{name}", variant, primary, revision, ordinal)


@given(replicas)
def test_a_replica_id_is_parsed_back_to_what_made_it(replica: Replica) -> None:
    namespace, name, (variant, primary), revision, ordinal = replica
    parsed = parse_replica_id(id_of(replica))
    assert (parsed.function, parsed.revision, parsed.ordinal) == (f"{namespace}/{name}", revision, ordinal)
    assert parsed.beside_gpu == (variant is not primary)


@given(replicas, replicas)
def test_two_replicas_never_share_an_id_nor_two_of_a_namespace_a_pod_name(one: Replica, other: Replica) -> None:
    def identity(replica: Replica) -> tuple[object, ...]:
        namespace, name, (variant, primary), revision, ordinal = replica
        return (namespace, name, variant is primary, revision, ordinal)

    assert (id_of(one) == id_of(other)) == (identity(one) == identity(other))
    neighbour: Replica = (one[0], *other[1:])
    assert (pod_name(id_of(one)) == pod_name(id_of(neighbour))) == (identity(one) == identity(neighbour))


@given(replicas)
def test_every_pod_name_is_a_dns_label(replica: Replica) -> None:
    assert is_dns_label(pod_name(id_of(replica)))


@given(dns_labels(), dns_labels(), variants)
def test_a_flow_leads_back_to_its_function_and_no_two_variants_share_one(
    namespace: str, name: str, variant: tuple[Variant, Variant]
) -> None:
    key = f"{namespace}/{name}"
    assert flow_of(key, *variant).removesuffix(":cpu") == key
    assert flow_of(key, CPU, GPU) != flow_of(key, GPU, GPU)


@given(st.binary())
def test_the_revision_of_anything_makes_a_valid_replica(content: bytes) -> None:
    assert parse_replica_id(replica_id("ns/f", GPU, GPU, revision_of(content), 0)).revision == revision_of(content)
