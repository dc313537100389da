from itertools import product

import pytest

from stoker.lifecycle import (
    STATES,
    TRANSITIONS,
    Actor,
    IllegalTransition,
    State,
    check_transition,
    next_states,
)
from stoker.model.replica import ReplicaState

pytestmark = pytest.mark.unit

S = ReplicaState
LEGAL = {
    None: {S.STARTING},
    S.STARTING: {S.WARM, S.DRAINING, S.GONE},
    S.WARM: {S.HIBERNATED, S.DRAINING, S.GONE},
    S.HIBERNATED: {S.WARM, S.DRAINING, S.GONE},
    S.DRAINING: {S.GONE},
    S.GONE: set(),
}


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_every_pair_of_states_has_its_verdict(before: State, after: State) -> None:
    if after is not None and after in LEGAL[before]:
        row = check_transition(before, after)
        assert row is TRANSITIONS[before, after]
        assert row.when
    else:
        with pytest.raises(IllegalTransition):
            check_transition(before, after)


def test_the_table_covers_every_state_and_nothing_else() -> None:
    assert set(STATES) == {None, *ReplicaState}
    assert {state: set(next_states(state)) for state in STATES} == LEGAL


@pytest.mark.parametrize("state", STATES)
def test_every_state_reaches_gone(state: State) -> None:
    reached: set[State] = {state}
    while more := {after for before in reached for after in next_states(before)} - reached:
        reached |= more
    assert S.GONE in reached


def test_every_live_state_may_end_at_once_since_processes_crash() -> None:
    assert all(S.GONE in next_states(state) for state in (S.STARTING, S.WARM, S.HIBERNATED, S.DRAINING))


def test_each_transition_has_one_actor_of_its_mode() -> None:
    for row in TRANSITIONS.values():
        assert row.embedded in {Actor.AGENT, Actor.RECONCILER, Actor.LAUNCHER}
        assert row.kubernetes in {Actor.AGENT, Actor.OPERATOR, Actor.KUBELET}


@pytest.mark.parametrize(
    ("before", "after", "embedded", "kubernetes"),
    [
        (None, S.STARTING, Actor.RECONCILER, Actor.OPERATOR),
        (S.STARTING, S.WARM, Actor.AGENT, Actor.AGENT),
        (S.STARTING, S.GONE, Actor.LAUNCHER, Actor.KUBELET),
        (S.WARM, S.DRAINING, Actor.AGENT, Actor.AGENT),
        (S.WARM, S.HIBERNATED, Actor.AGENT, Actor.AGENT),
        (S.WARM, S.GONE, Actor.LAUNCHER, Actor.KUBELET),
        (S.DRAINING, S.GONE, Actor.RECONCILER, Actor.OPERATOR),
    ],
)
def test_the_actors_are_those_of_the_design(
    before: State, after: ReplicaState, embedded: Actor, kubernetes: Actor
) -> None:
    row = check_transition(before, after)
    assert (row.embedded, row.kubernetes) == (embedded, kubernetes)


def test_an_illegal_transition_says_what_would_be_legal() -> None:
    with pytest.raises(IllegalTransition, match="cannot go from draining to warm; from draining it may go to gone"):
        check_transition(S.DRAINING, S.WARM)
    with pytest.raises(IllegalTransition, match="cannot go from gone to starting; from gone it may go to nothing"):
        check_transition(S.GONE, S.STARTING)
    with pytest.raises(IllegalTransition, match="cannot go from warm to none"):
        check_transition(S.WARM, None)
