"""No pod is pending without a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.control.pending import ContainerFacts, CreateError, PodFacts, failure_of, why_pending
from stoker.reasons import Reason

pytestmark = pytest.mark.property

TEXTS = st.sampled_from(["", "exceeded quota", 'secret "a" not found', "runAsNonRoot and image will run as root"])
CONTAINERS = st.builds(
    ContainerFacts,
    waiting=st.sampled_from(["", "ContainerCreating", "PodInitializing", "CrashLoopBackOff", "ErrImagePull", "New"]),
    message=TEXTS,
    running=st.booleans(),
    exit_code=st.sampled_from([None, 0, 1, 137]),
    restarts=st.integers(0, 3),
)
PODS = st.builds(
    PodFacts,
    phase=st.sampled_from(["Pending", "Running", "Failed", "Succeeded", "Unknown", ""]),
    resource=st.sampled_from(["", "nvidia.com/gpu"]),
    node=st.sampled_from(["", "n1"]),
    node_ready=st.booleans(),
    nominated_node=st.sampled_from(["", "n2"]),
    gated=st.booleans(),
    unschedulable=TEXTS,
    init=CONTAINERS,
    main=CONTAINERS,
    image_present=st.sampled_from([None, True, False]),
    warning=st.sampled_from(["", "FailedMount", "FailedCreatePodSandBox", "New"]),
    warning_message=TEXTS,
    deleting=st.booleans(),
    failed_reason=st.sampled_from(["", "Evicted", "UnexpectedAdmissionError", "OutOfcpu", "New"]),
    failed_message=TEXTS,
    create_error=st.none()
    | st.builds(CreateError, status=st.sampled_from([0, 400, 403, 404, 409, 410, 422, 429, 500]), message=TEXTS),
    agent_heard=st.booleans(),
    reported=st.booleans(),
    unfit=TEXTS,
    quarantined=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(PODS)
def test_every_pod_that_is_not_warm_has_a_reason_and_a_sentence(facts: PodFacts) -> None:
    reason, sentence = why_pending(facts)
    assert isinstance(reason, Reason)
    assert reason not in (Reason.READY, Reason.SCALED_TO_ZERO)
    assert sentence.strip()
    ended = failure_of(facts)
    assert (ended is not None) == (facts.create_error is not None or facts.phase in ("Failed", "Succeeded"))
    if ended is not None and (facts.create_error is not None or not facts.deleting):
        assert reason is ended
