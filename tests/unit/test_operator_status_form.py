"""A function's status as the API has it."""

import pytest

from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.model.status import Condition, FunctionStatus, Placement, ReplicaCounts
from stoker.reasons import Reason
from stoker_operator.status_form import Extra, is_flip, status_of

pytestmark = pytest.mark.unit

THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def planned(*, ready: bool = True, message: str = "1 replica is warm") -> FunctionStatus:
    reason = Reason.READY if ready else Reason.WAITING_FOR_GPU
    return FunctionStatus(
        function="team/fn",
        revision="0123456789",
        conditions=(
            Condition(type="Ready", status=ready, reason=reason, message=message),
            Condition(type="Stalled", status=False, reason=Reason.READY, message="nothing stands in the way"),
        ),
        replicas={Variant.GPU: ReplicaCounts(warm=1, starting=2), Variant.CPU: ReplicaCounts(warm=1)},
        placements=(
            Placement(
                replica="r", variant=Variant.GPU, revision="0", device="A100/x", state=ReplicaState.WARM, node="n"
            ),
        ),
    )


def form(
    status: FunctionStatus | None, before: list[dict[str, str]] | None = None, **extra: object
) -> dict[str, object]:
    return status_of(
        generation=3,
        status=status,
        extra=Extra(**extra),  # type: ignore[arg-type]
        before=before or [],
        now=NOW,
    )


def stalled(said: dict[str, object]) -> dict[str, object]:
    conditions = said["conditions"]
    assert isinstance(conditions, list)
    found = next(each for each in conditions if each["type"] == "Stalled")
    assert isinstance(found, dict)
    return found


def test_counts_are_those_of_both_variants() -> None:
    said = form(planned(), url="http://x/")
    assert said["replicas"] == {"warm": 2, "hibernated": 0, "starting": 2, "draining": 0}
    assert said["observedGeneration"] == 3
    assert said["url"] == "http://x/"
    assert said["placements"] == [{"node": "n", "device": "A100/x", "state": "warm"}]


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    before = [{"type": "Ready", "status": "True", "lastTransitionTime": THEN}]
    conditions = form(planned(message="2 replicas are warm"), before)["conditions"]
    assert isinstance(conditions, list)
    assert [each["lastTransitionTime"] for each in conditions] == [THEN, NOW]
    flipped = form(planned(ready=False), before)["conditions"]
    assert isinstance(flipped, list)
    assert flipped[0]["lastTransitionTime"] == NOW


def test_only_a_change_of_status_or_reason_is_a_flip() -> None:
    one, other = form(planned())["conditions"], form(planned(message="other words"))["conditions"]
    assert isinstance(one, list)
    assert isinstance(other, list)
    assert not is_flip(one, other)
    third = form(planned(ready=False))["conditions"]
    assert isinstance(third, list)
    assert is_flip(one, third)


def test_a_function_that_cannot_be_read_is_stalled_and_says_why() -> None:
    said = status_of(generation=1, status=None, extra=Extra(invalid="spec.x: wrong"), before=[], now=NOW)
    found = stalled(said)
    assert (found["status"], found["reason"], found["message"]) == ("True", "InvalidSpec", "spec.x: wrong")


def test_a_broken_update_is_told_beside_the_generation_that_serves() -> None:
    found = stalled(form(planned(), invalid="spec.x: wrong"))
    assert found["reason"] == "InvalidSpec"
    assert "the one before is" in str(found["message"])


def test_fields_that_do_not_act_are_told_where_nothing_is_stalled() -> None:
    warned = ("spec.priority does not act yet.", "spec.fairShare does not act yet.")
    found = stalled(form(planned(), warnings=warned))
    assert (found["status"], found["reason"]) == ("False", "Ready")
    assert found["message"] == (
        "nothing stands in the way; spec.priority does not act yet. spec.fairShare does not act yet."
    )
    broken = stalled(form(planned(), warnings=warned, invalid="spec.x: wrong"))
    assert "priority" not in str(broken["message"])
    note = stalled(form(planned(), warnings=warned, images=(Reason.PRE_PULL_UNSUPPORTED, "no image volumes")))
    assert "no image volumes; spec.priority" in str(note["message"])


def test_a_name_that_somebody_else_has_is_told() -> None:
    assert stalled(form(planned(), conflicts=("services fn is not Stoker's",)))["reason"] == "NameConflict"
