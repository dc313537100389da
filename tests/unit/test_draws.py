from collections import Counter

import pytest

from stoker.draws import Draws

pytestmark = pytest.mark.unit


def test_the_sequence_is_that_of_the_published_algorithm() -> None:
    # The reference values of seed 1234567, as other implementations publish them.
    draws = Draws(1234567)
    assert [draws.bits() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_every_whole_number_is_a_seed_and_its_lowest_64_bits_count() -> None:
    assert Draws(-1).bits() == Draws(2**64 - 1).bits() == Draws(2**65 - 1).bits()
    assert Draws(0).bits() != Draws(1).bits()


def test_numbers_below_a_bound_are_all_drawn_and_about_equally_often() -> None:
    draws = Draws(7)
    counts = Counter(draws.below(10) for _ in range(5_000))
    assert set(counts) == set(range(10))
    # 500 expected, deviation 21.
    assert all(400 <= count <= 600 for count in counts.values())


def test_the_whole_range_and_a_single_number_can_be_drawn_and_nothing_cannot() -> None:
    assert Draws(1).below(1) == 0
    assert Draws(1).below(2**64) == Draws(1).bits()
    for bound in (0, -1, 2**64 + 1):
        with pytest.raises(ValueError, match=f"no number can be drawn below {bound}"):
            Draws(1).below(bound)


def test_what_would_favour_small_numbers_is_drawn_again() -> None:
    bound = 2**63 + 1
    seeds = [seed for seed in range(50) if Draws(seed).bits() >= bound]
    assert seeds
    for seed in seeds:
        again = Draws(seed)
        again.bits()
        assert Draws(seed).below(bound) == again.below(bound)
