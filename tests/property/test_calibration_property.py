"""The margin keeps its finite-sample bound whatever the scores are: no distribution is assumed anywhere."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.calibration import ONE, POOL_BELOW, STEP, Calibration, alpha_of, bound_ppm

pytestmark = pytest.mark.property

percentiles = st.sampled_from((50.0, 90.0, 95.0, 99.0, 99.9))


def share_missed_ppm(calibration: Calibration, key: str) -> int:
    scores, covered = calibration.coverage()[key]
    return (scores - covered) * ONE // scores


@given(st.lists(st.integers(0, 4_000), min_size=1, max_size=400), percentiles)
def test_the_share_of_misses_is_within_its_bound_of_alpha_whatever_happens(took: list[int], percentile: float) -> None:
    calibration = Calibration()
    for actual_us in took:
        calibration.observe("a/f", percentile, 1_000, actual_us)
    largest = max(0, max(took) - 1_000) * 1_000
    off = abs(share_missed_ppm(calibration, "a/f") - alpha_of(percentile))
    assert off <= bound_ppm(len(took), largest) + 1


@given(drawn=st.binary(min_size=1, max_size=600), first=st.integers(0, 100), percentile=percentiles)
def test_so_is_that_of_any_part_once_a_function_has_a_margin_of_its_own(
    drawn: bytes, first: int, percentile: float
) -> None:
    """Two functions share the pool; a byte says whose request comes back, and after how long."""
    calibration, missed, largest = Calibration(), [], 0
    for byte in drawn:
        mine, actual_us = byte % 2 == 0, 16 * byte
        covered = calibration.observe("a/f" if mine else "a/g", percentile, 1_000, actual_us)
        largest = max(largest, (actual_us - 1_000) * 1_000)
        if mine:
            missed.append(not covered)
    alpha = alpha_of(percentile)

    def off(part: list[bool]) -> int:
        return abs(sum(part) * ONE - alpha * len(part))

    # That of one score is the bound on the number of misses, whatever their share.
    assert off(missed[POOL_BELOW + first :]) <= bound_ppm(1, largest) + ONE // STEP + 1
    assert off(missed) <= bound_ppm(1, largest) + POOL_BELOW * ONE


@given(seed=st.integers(0, 2**32), percentile=percentiles)
def test_the_same_scores_give_the_same_margin(seed: int, percentile: float) -> None:
    def margin() -> int:
        chance, calibration = random.Random(seed), Calibration()
        for _ in range(100):
            calibration.observe("a/f", percentile, chance.randint(1, 999), chance.randint(1, 999))
        return calibration.margin_ppm("a/f", percentile)

    assert margin() == margin()


def test_a_function_of_few_scores_has_the_margin_of_all() -> None:
    calibration = Calibration()
    for _ in range(POOL_BELOW + 10):
        calibration.observe("a/old", 99.0, 100, 300)
    assert calibration.margin_ppm("a/new", 99.0) == calibration.margin_ppm("a/old", 99.0)
    for _ in range(POOL_BELOW):
        calibration.observe("a/new", 99.0, 100, 100)
    assert calibration.margin_ppm("a/new", 99.0) < calibration.margin_ppm("a/old", 99.0)
    assert calibration.margin_ppm("a/new", 90.0) == Calibration().margin_ppm("a/f", 90.0), "each percentile by itself"


def test_the_errors_of_others_say_nothing_of_a_function_that_has_enough_scores_of_its_own() -> None:
    calibration = Calibration()
    for _ in range(2_000):
        calibration.observe("a/wild", 99.0, 100, 100_000)
    for _ in range(POOL_BELOW):
        calibration.observe("b/steady", 99.0, 100, 100)
    alone = Calibration()
    for _ in range(POOL_BELOW):
        alone.observe("b/steady", 99.0, 100, 100)
    assert calibration.margin_ppm("b/steady", 99.0) == alone.margin_ppm("b/steady", 99.0)


def test_a_shift_is_learnt_once_and_forgotten_as_slowly_as_the_percentile_asks() -> None:
    calibration = Calibration()
    for _ in range(500):
        calibration.observe("a/f", 99.0, 1_000, 1_000)
    for _ in range(100):
        calibration.observe("a/f", 99.0, 1_000, 2_000)
    margin = calibration.margin_ppm("a/f", 99.0)
    assert ONE - 60_000 <= margin <= ONE + 60_000, "twice as long is a margin of one; no more, however many came late"
    scores, covered = calibration.coverage()["a/f"]
    assert scores - covered <= 25


def test_what_is_forgotten_leaves_no_margin_behind() -> None:
    calibration = Calibration()
    for _ in range(POOL_BELOW):
        calibration.observe("a/f", 99.0, 100, 900)
    calibration.forget("a/f")
    assert calibration.coverage() == {}
