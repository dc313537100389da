"""Random numbers of the simulator: the published generator, keyed by what they are for."""

import numpy as np
import pytest

from stoker_sim.draws import Words, exponentials, generator, key_of, lognormals, normals, philox, uniforms

pytestmark = pytest.mark.unit

# Known answers of Random123 1.14 (kat_vectors), philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[Words]:
    return [np.array([int(word, 16)], np.uint64) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, result: str) -> None:
    c0, c1, c2, c3 = words(counter)
    k0, k1 = words(key)
    assert [int(word[0]) for word in philox((c0, c1, c2, c3), (k0, k1))] == [int(word, 16) for word in result.split()]


def test_a_draw_hangs_on_its_key_and_number_and_not_on_what_is_drawn_with_it() -> None:
    key, other = key_of(1, "exec", "default/f"), key_of(1, "exec", "default/g")
    together = uniforms(np.array([key, other, key], np.uint64), np.array([70_000, 5, 2**40]))
    assert together.tolist() == [
        uniforms(key, np.array([70_000]))[0],
        uniforms(other, np.array([5]))[0],
        uniforms(key, np.array([2**40]))[0],
    ]
    many = uniforms(key, np.arange(70_001))
    assert many[70_000] == together[0]


@pytest.mark.parametrize(
    "other",
    [key_of(2, "exec", "default/f"), key_of(1, "arrival", "default/f"), key_of(1, "exec", "default/g")],
)
def test_seed_purpose_and_name_each_make_another_stream(other: int) -> None:
    number = np.arange(4_000)
    drawn = uniforms(key_of(1, "exec", "default/f"), number)
    assert abs(np.corrcoef(drawn, uniforms(other, number))[0, 1]) < 0.06
    assert abs(np.corrcoef(drawn, uniforms(key_of(1, "exec", "default/f"), number, lane=1))[0, 1]) < 0.06


def test_the_parts_of_a_key_cannot_run_into_one_another() -> None:
    assert key_of(1, "a", "bc") != key_of(1, "ab", "c")
    assert key_of(12, "a", "") != key_of(1, "2a", "")


def test_the_distributions_have_their_moments() -> None:
    number = np.arange(60_000)
    flat = uniforms(7, number)
    assert flat.min() >= 0
    assert flat.max() < 1
    assert np.histogram(flat, 10, (0, 1))[0] == pytest.approx(6_000, rel=0.06)
    assert exponentials(7, number).mean() == pytest.approx(1, abs=0.02)
    assert np.percentile(exponentials(7, number), 90) == pytest.approx(np.log(10), rel=0.03)
    normal = normals(7, number)
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.02)
    skewed = lognormals(7, number, 4.0)
    assert np.percentile(skewed, [50, 99]) == pytest.approx([1, 4], rel=0.06)
    assert lognormals(7, number[:3], 1.0).tolist() == [1, 1, 1]


def test_a_generator_of_its_own_repeats_itself() -> None:
    first, second = (generator(3, "gaps", "m/1/0").standard_gamma(0.5, 4).tolist() for _ in range(2))
    assert first == second
    assert first != generator(3, "gaps", "m/1/600").standard_gamma(0.5, 4).tolist()
