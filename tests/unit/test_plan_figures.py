"""The figures of plans: what functions wait for, how long replicas took, and nothing of what is gone."""

import pytest
from gateway_fake_agent import CountingSink

from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.model.status import Condition, FunctionStatus, ReplicaCounts
from stoker.reasons import Reason
from stoker.wire.cluster import PodReplica, ReplicaReport
from stoker_operator.agent_board import Heard
from stoker_operator.kinds import Pod
from stoker_operator.plan_figures import PlanFigures
from stoker_operator.pod_view import ReplicaPod
from stoker_runtime.kube.objects import ObjectMeta

pytestmark = pytest.mark.unit

SECOND_US = 1_000_000
PENDING = "stoker_function_pending_seconds_total"


def status(
    key: str, reason: Reason = Reason.READY, *, ready: bool = True, moving: Reason | None = None, warm: int = 0
) -> FunctionStatus:
    def condition(name: str, why: Reason, *, is_so: bool) -> Condition:
        return Condition(type=name, status=is_so, reason=why, message="")

    return FunctionStatus(
        function=key,
        revision="r",
        conditions=(
            condition("Ready", reason, is_so=ready),
            condition("Reconciling", moving or reason, is_so=moving is not None),
        ),
        replicas={Variant.GPU: ReplicaCounts(warm=warm, starting=int(moving is not None))},
    )


def view(state: ReplicaState, identity: str = "ns/f-r-0") -> ReplicaPod:
    return ReplicaPod(
        pod=Pod(metadata=ObjectMeta(name="f-r-0", namespace="ns", uid="u")),
        replica=PodReplica(
            id=identity, function="ns/f", function_uid="x", variant=Variant.GPU, revision="r", ordinal=0
        ),
        heard=Heard(report=ReplicaReport(id=identity, pod_uid="u", state=state), node="n", at_us=0),
    )


def test_time_counts_for_what_was_waited_for_when_it_began() -> None:
    sink = CountingSink()
    figures = PlanFigures(sink)
    figures.planned({"ns/f": status("ns/f", moving=Reason.PULLING_IMAGE)}, 0)
    figures.planned({"ns/f": status("ns/f", moving=Reason.INITIALISING)}, 3 * SECOND_US)
    figures.planned({"ns/f": status("ns/f", warm=1)}, 4 * SECOND_US)
    figures.planned({"ns/f": status("ns/f", warm=1)}, 9 * SECOND_US)
    assert sink.values[PENDING, "ns", "f", "PullingImage"] == 3
    assert sink.values[PENDING, "ns", "f", "Initialising"] == 1


def test_a_function_that_cannot_be_had_is_pending_too_and_a_long_silence_is_not_counted() -> None:
    sink = CountingSink()
    figures = PlanFigures(sink)
    crashing = {"ns/f": status("ns/f", Reason.CRASH_LOOP, ready=False)}
    figures.planned(crashing, 0)
    figures.planned(crashing, 3600 * SECOND_US)
    assert sink.values[PENDING, "ns", "f", "CrashLoop"] == 5


def test_functions_and_replicas_are_shown_by_state_and_a_reason_that_nobody_has_any_more_is_zero() -> None:
    sink = CountingSink()
    figures = PlanFigures(sink)
    zero = status("ns/a", Reason.SCALED_TO_ZERO)
    figures.planned({"ns/a": zero, "ns/b": status("ns/b", warm=2)}, 0)
    assert sink.values["stoker_operator_functions", "true", "ScaledToZero"] == 1
    assert sink.values["stoker_operator_replicas", "gpu", "warm"] == 2
    figures.planned({"ns/b": status("ns/b", warm=1)}, SECOND_US)
    assert sink.values["stoker_operator_functions", "true", "ScaledToZero"] == 0
    assert sink.values["stoker_operator_functions", "true", "Ready"] == 1
    assert sink.values["stoker_operator_replicas", "gpu", "warm"] == 1


def test_a_deleted_function_leaves_no_series() -> None:
    sink = CountingSink()
    figures = PlanFigures(sink)
    waiting = {key: status(key, moving=Reason.WAITING_FOR_GPU) for key in ("ns/f", "ns/g")}
    figures.planned(waiting, 0)
    figures.planned(waiting, SECOND_US)
    del waiting["ns/f"]
    figures.planned(waiting, 2 * SECOND_US)
    assert [key[2] for key in sink.values if key[0] == PENDING] == ["g"]


def test_a_replica_is_timed_from_the_plan_that_ordered_it_to_warm_and_only_once() -> None:
    sink = CountingSink()
    figures = PlanFigures(sink)
    figures.ordered("ns/f-r-0", 0)
    figures.seen({}, ["ns/f-r-0"], SECOND_US)
    figures.ordered("ns/f-r-0", SECOND_US)
    figures.seen({"ns/f-r-0": view(ReplicaState.STARTING)}, [], 2 * SECOND_US)
    assert ("stoker_replica_wake_seconds", "gpu") not in sink.values
    figures.seen({"ns/f-r-0": view(ReplicaState.WARM)}, [], 4 * SECOND_US)
    assert sink.values.pop(("stoker_replica_wake_seconds", "gpu")) == 4
    figures.seen({"ns/f-r-0": view(ReplicaState.WARM)}, [], 5 * SECOND_US)
    assert sink.values == {}


def test_a_replica_that_never_became_warm_is_not_timed() -> None:
    sink = CountingSink()
    figures = PlanFigures(sink)
    figures.ordered("ns/f-r-0", 0)
    figures.seen({}, [], SECOND_US)
    figures.seen({"ns/f-r-0": view(ReplicaState.WARM)}, [], 2 * SECOND_US)
    assert sink.values == {}
