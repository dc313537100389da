"""The states of a replica and who alone may change them, as one table (DESIGN section 4).

A shell asks check_transition() before it records a new state, so a replica never goes where no row leads, and
two components never both own a step. The table knows modes and actors, not how an actor does its work.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

from stoker.errors import StokerError
from stoker.model.replica import ReplicaState


class Actor(StrEnum):
    """Who makes a transition happen. Others may ask for it; the actor alone does and records it."""

    AGENT = "agent"
    RECONCILER = "reconciler"
    LAUNCHER = "launcher"
    OPERATOR = "operator"
    KUBELET = "kubelet"


class IllegalTransition(StokerError):  # noqa: N818  the name states the fact
    """A replica was to go from a state to one that no row of the table leads to: a defect of the caller."""


class Transition(Struct, frozen=True):
    """One row: the sole actor in each mode, and when it happens."""

    embedded: Actor
    kubernetes: Actor
    when: str


State = ReplicaState | None
"""None is `none`: the replica does not exist yet."""

STATES: tuple[State, ...] = (None, *ReplicaState)

_S = ReplicaState
_ENDED = (Actor.LAUNCHER, Actor.KUBELET)
_AGENT = (Actor.AGENT, Actor.AGENT)

TRANSITIONS: Mapping[tuple[State, ReplicaState], Transition] = MappingProxyType(
    {
        (None, _S.STARTING): Transition(Actor.RECONCILER, Actor.OPERATOR, "its process or pod is made"),
        (_S.STARTING, _S.WARM): Transition(*_AGENT, "its readiness probe passed"),
        # Once it drains, a Ready that comes late finds no row and cannot make it take requests.
        (_S.STARTING, _S.DRAINING): Transition(*_AGENT, "it is no longer wanted before it was ready"),
        (_S.STARTING, _S.GONE): Transition(*_ENDED, "it ended before it was ready"),
        (_S.WARM, _S.HIBERNATED): Transition(*_AGENT, "it gave its device memory back"),
        (_S.WARM, _S.DRAINING): Transition(*_AGENT, "it was asked to go; nothing new is dispatched to it"),
        (_S.WARM, _S.GONE): Transition(*_ENDED, "it crashed or was killed from outside"),
        (_S.HIBERNATED, _S.WARM): Transition(*_AGENT, "it has its device memory again"),
        (_S.HIBERNATED, _S.DRAINING): Transition(*_AGENT, "it was asked to go; it is not woken for it"),
        (_S.HIBERNATED, _S.GONE): Transition(*_ENDED, "it crashed or was killed from outside"),
        (_S.DRAINING, _S.GONE): Transition(
            Actor.RECONCILER, Actor.OPERATOR, "the agent acknowledged that nothing is in flight, and it was ended"
        ),
    }
)
"""Every transition there is. `gone` is final; a replica that comes back is a new one, from `none`."""


def next_states(state: State) -> frozenset[ReplicaState]:
    """Where a replica may go from a state; empty for `gone`."""
    return frozenset(after for before, after in TRANSITIONS if before is state)


def check_transition(before: State, after: State) -> Transition:
    """The row of a transition; IllegalTransition names the legal ones when there is none."""
    row = TRANSITIONS.get((before, after)) if after is not None else None
    if row is None:
        legal = ", ".join(sorted(next_states(before))) or "nothing"
        raise IllegalTransition(
            f"a replica cannot go from {_word(before)} to {_word(after)}; from {_word(before)} it may go to {legal}"
        )
    return row


def _word(state: State) -> str:
    return "none" if state is None else state.value
