import numpy as np
import pytest
from sim_workloads import S, workload_of

from stoker_sim.study.halves import Half, keys_of, resampled, seed_of, window_of

pytestmark = pytest.mark.unit

TRACE = workload_of([(second * S, second % 2, 1 + second) for second in range(100)], horizon_us=100 * S)
"""One request a second, whose execution time says which second it was."""


def test_no_seed_window_or_function_is_in_both_halves() -> None:
    seeds, windows, keys = (
        [set(make(half)) for half in Half]
        for make in (
            lambda half: (seed_of(half, replication) for replication in range(50)),
            lambda half: (window_of(half, replication, 24, step=5) for replication in range(50)),
            lambda half: keys_of(half, "abcdefg"),
        )
    )
    for tuning, test in (seeds, windows, keys):
        assert not tuning & test
    assert windows[0] | windows[1] == set(range(24))
    assert keys[0] | keys[1] == set("abcdefg")


@pytest.mark.parametrize("half", Half)
def test_blocks_are_those_of_the_half_only(half: Half) -> None:
    drawn = resampled(TRACE, half, 7, block_us=10 * S, blocks=30)
    assert {(exec_us - 1) // 10 % 2 for exec_us in drawn.exec_us.tolist()} == {half.odd}
    assert drawn.horizon_us == 300 * S


def test_what_a_function_does_inside_a_block_stays_as_it_was() -> None:
    drawn = resampled(TRACE, Half.TUNING, 7, block_us=10 * S, blocks=30)
    # A block has 5 requests of each function, each at its second of the block.
    assert np.bincount(drawn.function).tolist() == [150, 150]
    assert (drawn.time_us % (10 * S) == (drawn.exec_us - 1) % 10 * S).all()


def test_another_seed_draws_other_blocks_and_the_same_seed_the_same() -> None:
    first, again, other = (resampled(TRACE, Half.TUNING, seed, block_us=10 * S, blocks=9) for seed in (1, 1, 2))
    assert first.exec_us.tolist() == again.exec_us.tolist()
    assert first.exec_us.tolist() != other.exec_us.tolist()
