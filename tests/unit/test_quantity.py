import pytest

from stoker.errors import InvalidObject
from stoker.model.quantity import format_duration, parse_cpu_millis, parse_duration_us, parse_memory_mib

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "want"),
    [("0s", 0), ("7us", 7), ("250ms", 250_000), ("1m30s", 90_000_000), ("2h", 7_200_000_000), ("1s1s", 2_000_000)],
)
def test_a_duration_is_whole_microseconds(text: str, want: int) -> None:
    assert parse_duration_us(text) == want


@pytest.mark.parametrize(
    "text",
    ["", "1", "s", "-1s", "1.5s", "1 s", " 1s", "1s\n", "1S", "1d", "٣s", "9" * 5_000 + "s", "1s" * 11],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidObject, match=r"spec\.timeout: .*is not a duration"):
        parse_duration_us(text, "spec.timeout")


@pytest.mark.parametrize(
    ("text", "want"),
    [("1Mi", 1), ("4Gi", 4096), ("1Ti", 1_048_576), ("1M", 1), ("2M", 2), ("10G", 9537), ("1T", 953_675)],
)
def test_memory_is_whole_mebibytes_rounded_up(text: str, want: int) -> None:
    assert parse_memory_mib(text) == want


@pytest.mark.parametrize("text", ["", "4", "Gi", "-4Gi", "4.5Gi", "4 Gi", "4gi", "4Ki", "4Gi\n", "9" * 5_000 + "Gi"])
def test_anything_else_is_no_memory(text: str) -> None:
    with pytest.raises(InvalidObject, match="is not an amount of memory"):
        parse_memory_mib(text)


@pytest.mark.parametrize(
    ("text", "want"), [("2", 2000), ("500m", 500), ("0.5", 500), ("1.25", 1250), ("0.001", 1), ("0", 0)]
)
def test_cpu_is_whole_millicores(text: str, want: int) -> None:
    assert parse_cpu_millis(text) == want


@pytest.mark.parametrize("text", ["", "m", "-1", "1.", ".5", "0.0001", "1.5m", "1 ", "2\n", "9" * 5_000])
def test_anything_else_is_no_cpu(text: str) -> None:
    with pytest.raises(InvalidObject, match="is not an amount of CPU"):
        parse_cpu_millis(text)


@pytest.mark.parametrize(
    ("us", "want"),
    [
        (0, "0 us"),
        (999, "999 us"),
        (1_000, "1 ms"),
        (182_345, "182 ms"),
        (999_499, "999 ms"),
        (999_500, "1 s"),
        (1_500_000, "1.5 s"),
        (8_200_000, "8.2 s"),
        (999_499_999, "999 s"),
        (999_500_000, "1000 s"),
        (7_200_000_000, "7200 s"),
    ],
)
def test_a_duration_for_a_person_has_three_digits_and_no_exponent(us: int, want: str) -> None:
    assert format_duration(us) == want
