import pytest

from stoker.errors import InvalidObject
from stoker.model.function import Variant
from stoker.names import (
    ReplicaName,
    flow_of,
    is_dns_label,
    parse_replica_id,
    pod_name,
    replica_id,
    revision_of,
)

pytestmark = pytest.mark.unit

GPU, CPU = Variant.GPU, Variant.CPU
REV = "0123456789"


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a" * 63, "x--y"])
def test_a_dns_label(text: str) -> None:
    assert is_dns_label(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "a\n", "é", "a b"])
def test_not_a_dns_label(text: str) -> None:
    assert not is_dns_label(text)


def test_a_cpu_variant_has_its_own_flow_only_beside_a_gpu_one() -> None:
    assert flow_of("ns/f", GPU, GPU) == flow_of("ns/f", CPU, CPU) == "ns/f"
    assert flow_of("ns/f", CPU, GPU) == "ns/f:cpu"


@pytest.mark.parametrize(
    ("variant", "primary", "want"),
    [
        (GPU, GPU, f"ns/ocr-{REV}-3"),
        (CPU, CPU, f"ns/ocr-{REV}-3"),
        (CPU, GPU, f"ns/ocr-{REV}-cpu-3"),
    ],
)
def test_a_replica_id_says_function_revision_and_ordinal(variant: Variant, primary: Variant, want: str) -> None:
    assert replica_id("ns/ocr", variant, primary, REV, 3) == want
    assert parse_replica_id(want) == ReplicaName(
        function="ns/ocr", revision=REV, ordinal=3, beside_gpu=variant is not primary
    )


def test_a_function_called_like_a_cpu_variant_never_meets_one() -> None:
    assert replica_id("ns/ocr-cpu", GPU, GPU, REV, 0) != replica_id("ns/ocr", CPU, GPU, REV, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ocr",
        "ns/ocr",
        f"ocr-{REV}-0",
        f"ns/ocr-{REV}-00",
        f"ns/ocr-{REV}--1",
        f"ns/ocr-{REV}-x",
        f"ns/ocr-{REV}-0\n",
        f"ns/ocr-{REV[:-1]}-0",
        f"ns/ocr-{REV.replace('0', 'G')}-0",
        f"ns/Ocr-{REV}-0",
        f"ns/-{REV}-0",
        f"a/b/c-{REV}-0",
        f"ns/{'o' * 64}-{REV}-0",
        f"ns/ocr-{REV}-1234567890",
    ],
)
def test_nonsense_is_no_replica(text: str) -> None:
    with pytest.raises(InvalidObject):
        parse_replica_id(text)
    with pytest.raises(InvalidObject):
        pod_name(text)


@pytest.mark.parametrize(
    ("key", "revision", "ordinal"),
    [("ocr", REV, 0), ("ns/Ocr", REV, 0), ("ns/", REV, 0), ("ns/ocr", "nonsense", 0), ("ns/ocr", REV, -1)],
)
def test_a_replica_id_that_could_not_be_parsed_back_is_not_made(key: str, revision: str, ordinal: int) -> None:
    with pytest.raises(InvalidObject):
        replica_id(key, GPU, GPU, revision, ordinal)


def test_a_revision_is_ten_hex_digits_of_the_content() -> None:
    assert revision_of(b'{"image":"a"}') == revision_of(b'{"image":"a"}')
    assert revision_of(b'{"image":"a"}') != revision_of(b'{"image":"b"}')
    assert replica_id("ns/f", GPU, GPU, revision_of(b""), 0) == "ns/f-e3b0c44298-0"


def test_a_pod_name_is_the_replica_without_its_namespace() -> None:
    assert pod_name(f"ns/ocr-{REV}-cpu-3") == f"ocr-{REV}-cpu-3"


def test_a_pod_name_too_long_for_a_label_is_cut_and_ends_in_a_hash_of_the_whole() -> None:
    names = {pod_name(replica_id("ns/" + "o" * 63, GPU, GPU, REV, ordinal)) for ordinal in range(3)}
    assert len(names) == 3
    assert all(len(name) == 63 and is_dns_label(name) for name in names)
