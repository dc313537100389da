"""From cause to condition reason: what each state of a pod is called, and that a function shows it."""

from typing import Any

import pytest
from cluster_world import gpu
from planning_world import S, make_function, status_of

from stoker.control.pending import ContainerFacts, CreateError, PodFacts, failure_of, why_pending
from stoker.control.plan import plan
from stoker.control.planning import Failure, Observed, PlanParams
from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.reasons import PLATFORM_FAULTS, Reason

pytestmark = pytest.mark.unit

NODE = {"node": "n1"}
GPU_POD = {"resource": "nvidia.com/gpu"}


def waiting(reason: str, message: str = "", restarts: int = 0) -> ContainerFacts:
    return ContainerFacts(waiting=reason, message=message, restarts=restarts)


PENDING: list[tuple[str, dict[str, Any], Reason]] = [
    ("nobody looked at it yet", {}, Reason.WAITING_FOR_NODE),
    ("a scheduling gate", {"gated": True}, Reason.WAITING_FOR_NODE),
    ("preemption is on its way", {"nominated_node": "n1", "unschedulable": "x"}, Reason.WAITING_FOR_NODE),
    (
        "every GPU is taken",
        {**GPU_POD, "unschedulable": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."},
        Reason.WAITING_FOR_GPU,
    ),
    (
        "the extender finds no free GPU",
        {**GPU_POD, "unschedulable": "0/2 nodes are available: 2 WaitingForGpu: 0 of the 1 GPUs wanted are free."},
        Reason.WAITING_FOR_GPU,
    ),
    (
        "the extender finds only sick GPUs",
        {**GPU_POD, "unschedulable": "0/2 nodes are available: 2 Quarantined: L4/GPU-1 is quarantined: Xid 79."},
        Reason.QUARANTINED,
    ),
    (
        "a taint",
        {**GPU_POD, "unschedulable": "0/1 nodes are available: 1 node(s) had untolerated taint {a: b}."},
        Reason.WAITING_FOR_NODE,
    ),
    ("no cores", {"unschedulable": "0/1 nodes are available: 1 Insufficient cpu."}, Reason.WAITING_FOR_NODE),
    ("containers are being created", NODE, Reason.INITIALISING),
    ("the image is not there", {**NODE, "image_present": False, "image": "a/b"}, Reason.PULLING_IMAGE),
    ("the image is there", {**NODE, "image_present": True, "main": waiting("ContainerCreating")}, Reason.INITIALISING),
    ("the pull failed", {**NODE, "main": waiting("ErrImagePull", "401")}, Reason.IMAGE_PULL_FAILED),
    ("the pull is retried", {**NODE, "main": waiting("ImagePullBackOff")}, Reason.IMAGE_PULL_FAILED),
    ("the image has no valid name", {**NODE, "main": waiting("InvalidImageName")}, Reason.IMAGE_PULL_FAILED),
    ("the image may not be pulled", {**NODE, "init": waiting("ErrImageNeverPull")}, Reason.IMAGE_PULL_FAILED),
    (
        "no image volumes in the kubelet",
        {**NODE, "main": waiting("ImagePullBackOff", "image volume is not supported")},
        Reason.PRE_PULL_UNSUPPORTED,
    ),
    (
        "no image volumes in the runtime",
        {**NODE, "warning": "FailedMount", "warning_message": "ImageVolume feature is off"},
        Reason.PRE_PULL_UNSUPPORTED,
    ),
    (
        "the image runs as root",
        {
            **NODE,
            "main": waiting(
                "CreateContainerConfigError", 'container has runAsNonRoot and image will run as root (pod: "x")'
            ),
        },
        Reason.IMAGE_NEEDS_ROOT,
    ),
    (
        "the image has a named user",
        {
            **NODE,
            "main": waiting(
                "CreateContainerConfigError",
                "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root",
            ),
        },
        Reason.IMAGE_NEEDS_ROOT,
    ),
    (
        "a missing Secret",
        {**NODE, "main": waiting("CreateContainerConfigError", 'secret "token" not found')},
        Reason.CONFIG_MISSING,
    ),
    (
        "a missing key",
        {**NODE, "main": waiting("CreateContainerConfigError", "couldn't find key a in ConfigMap default/b")},
        Reason.CONFIG_MISSING,
    ),
    (
        "a missing mounted Secret",
        {**NODE, "warning": "FailedMount", "warning_message": 'MountVolume.SetUp failed: secret "x" not found'},
        Reason.CONFIG_MISSING,
    ),
    (
        "a volume that cannot be mounted",
        {**NODE, "warning": "FailedMount", "warning_message": "timed out waiting for the condition"},
        Reason.MOUNT_FAILED,
    ),
    ("a volume that cannot be attached", {**NODE, "warning": "FailedAttachVolume"}, Reason.MOUNT_FAILED),
    (
        "a sub-path",
        {**NODE, "main": waiting("CreateContainerConfigError", "failed to prepare subPath for volumeMount")},
        Reason.MOUNT_FAILED,
    ),
    (
        "another configuration error",
        {**NODE, "main": waiting("CreateContainerConfigError", "PreStartContainer failed")},
        Reason.START_FAILED,
    ),
    ("no sandbox", {**NODE, "warning": "FailedCreatePodSandBox", "warning_message": "no network"}, Reason.INITIALISING),
    (
        "a command that is not there",
        {**NODE, "main": waiting("RunContainerError", "exec: no such file")},
        Reason.START_FAILED,
    ),
    ("it crashes again and again", {**NODE, "main": waiting("CrashLoopBackOff", "", 4)}, Reason.CRASH_LOOP),
    ("it crashed again", {**NODE, "main": ContainerFacts(exit_code=3, restarts=2)}, Reason.CRASH_LOOP),
    ("it crashed once", {**NODE, "main": ContainerFacts(exit_code=3)}, Reason.START_FAILED),
    ("the device is not granted yet", {**NODE, "init": ContainerFacts(running=True)}, Reason.WAITING_FOR_DEVICE),
    ("the waiting container failed", {**NODE, "init": ContainerFacts(exit_code=1)}, Reason.START_FAILED),
    (
        "the readiness probe has not passed",
        {**NODE, "main": ContainerFacts(running=True), "reported": True},
        Reason.INITIALISING,
    ),
    ("the agent has not found it", {**NODE, "main": ContainerFacts(running=True)}, Reason.INITIALISING),
    (
        "nobody probes it",
        {**NODE, "main": ContainerFacts(running=True), "agent_heard": False},
        Reason.AGENT_UNAVAILABLE,
    ),
    ("nobody reserves for it", {**NODE, "agent_heard": False}, Reason.AGENT_UNAVAILABLE),
    ("a sick device", {**NODE, "unfit": "GPU-1 is unhealthy: Xid 79", "quarantined": True}, Reason.QUARANTINED),
    ("a device that is too small", {**NODE, "unfit": "GPU-1 has 16 GiB"}, Reason.UNFIT_DEVICE),
    ("the node is gone", {**NODE, "node_ready": False, "main": ContainerFacts(running=True)}, Reason.NODE_LOST),
    ("nobody knows how it is", {**NODE, "phase": "Unknown"}, Reason.NODE_LOST),
    ("it is being deleted", {**NODE, "deleting": True}, Reason.DELETING),
]

ENDED: list[tuple[str, dict[str, Any], Reason]] = [
    (
        "Allocate failed",
        {"failed_reason": "UnexpectedAdmissionError", "failed_message": "Allocate failed due to no device"},
        Reason.ADMISSION_ERROR,
    ),
    ("two pods for one place", {"failed_reason": "OutOfnvidia.com/gpu"}, Reason.ADMISSION_ERROR),
    ("no cores left", {"failed_reason": "OutOfcpu"}, Reason.ADMISSION_ERROR),
    ("the node's labels changed", {"failed_reason": "NodeAffinity"}, Reason.ADMISSION_ERROR),
    ("disk pressure", {"failed_reason": "Evicted", "failed_message": "The node was low on resource"}, Reason.EVICTED),
    ("a more important pod", {"failed_reason": "Preempting"}, Reason.EVICTED),
    ("the node shut down", {"failed_reason": "Terminated"}, Reason.NODE_LOST),
    ("the node is lost", {"failed_reason": "NodeLost"}, Reason.NODE_LOST),
    ("its process ended", {"main": ContainerFacts(exit_code=1, message="no such model")}, Reason.START_FAILED),
    ("its memory was not enough", {"main": ContainerFacts(exit_code=137, out_of_memory=True)}, Reason.MEMORY_EXCEEDED),
    ("it ended well, which a server never does", {"phase": "Succeeded"}, Reason.START_FAILED),
    ("for a reason that is new", {"failed_reason": "SomethingNew"}, Reason.START_FAILED),
]

REFUSED: list[tuple[str, CreateError, Reason]] = [
    ("a quota", CreateError(status=403, message='pods "x" is forbidden: exceeded quota: gpus'), Reason.QUOTA_EXCEEDED),
    (
        "a quota that wants limits",
        CreateError(status=403, message="failed quota: q: must specify limits.cpu for: function"),
        Reason.QUOTA_EXCEEDED,
    ),
    (
        "Pod Security",
        CreateError(status=403, message='pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsUser=0'),
        Reason.POD_REFUSED,
    ),
    ("an invalid field", CreateError(status=422, message="Pod is invalid: spec.x"), Reason.POD_REFUSED),
    (
        "an API server without image volumes",
        CreateError(status=422, message="spec.volumes[0].image: Forbidden"),
        Reason.PRE_PULL_UNSUPPORTED,
    ),
    ("the name", CreateError(status=409, message='pods "x" already exists'), Reason.NAME_CONFLICT),
    (
        "an ending namespace",
        CreateError(status=403, message='unable to create: namespace "x" because it is being terminated'),
        Reason.DELETING,
    ),
    ("a namespace that is gone", CreateError(status=404, message='namespaces "x" not found'), Reason.DELETING),
    ("no answer", CreateError(status=0, message="timeout"), Reason.CONTROL_PLANE_UNAVAILABLE),
    ("an overloaded API server", CreateError(status=429), Reason.CONTROL_PLANE_UNAVAILABLE),
    ("a broken webhook", CreateError(status=500, message="failed calling webhook"), Reason.CONTROL_PLANE_UNAVAILABLE),
]


@pytest.mark.parametrize(("facts", "reason"), [case[1:] for case in PENDING], ids=[case[0] for case in PENDING])
def test_every_cause_for_which_a_pod_is_pending_has_its_reason(facts: dict[str, Any], reason: Reason) -> None:
    pod = PodFacts(**facts)
    found, sentence = why_pending(pod)
    assert found is reason
    assert sentence
    assert not sentence.endswith(".") or "nodes are available" in sentence
    assert failure_of(pod) is None


@pytest.mark.parametrize(("facts", "reason"), [case[1:] for case in ENDED], ids=[case[0] for case in ENDED])
def test_every_end_of_a_pod_has_its_reason(facts: dict[str, Any], reason: Reason) -> None:
    pod = PodFacts(**{"phase": "Failed", **NODE, **facts})
    assert failure_of(pod) is reason
    found, sentence = why_pending(pod)
    assert found is reason
    assert facts.get("failed_message", "") in sentence


@pytest.mark.parametrize(("error", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_every_refusal_of_a_pod_has_its_reason(error: CreateError, reason: Reason) -> None:
    pod = PodFacts(create_error=error)
    assert failure_of(pod) is reason
    assert why_pending(pod)[0] is reason


# A pod that its namespace keeps from running as root is not waited for.
@pytest.mark.parametrize("reason", sorted({reason for _, _, reason in PENDING} - {Reason.IMAGE_NEEDS_ROOT}))
def test_a_function_that_waits_shows_the_reason_of_its_pod(reason: Reason) -> None:
    function = make_function(min_replicas=1)
    pod = status_of(
        state=ReplicaState.STARTING, devices=(), started_us=49 * S, waiting=reason, waiting_detail="because"
    )
    observed = Observed(functions={function.key: function}, devices=(gpu("n", "0"),), replicas=(pod,))
    status = plan(observed, 50 * S, PlanParams()).statuses[function.key]
    assert [status.condition(name).reason for name in ("Ready", "Reconciling")] == [reason, reason]
    assert status.why_waiting == "replica 0 is starting: because"
    assert not status.condition("Ready").status


@pytest.mark.parametrize("reason", sorted({reason for _, _, reason in (*ENDED, *REFUSED)}))
def test_a_function_whose_pods_end_shows_why_and_when_it_is_tried_again(reason: Reason) -> None:
    function = make_function(min_replicas=1)
    failure = Failure(
        function=function.key,
        variant=Variant.GPU,
        revision=function.revision,
        replica_id="x",
        at_us=50 * S,
        reason=reason,
        detail="of the cause",
    )
    observed = Observed(functions={function.key: function}, devices=(gpu("n", "0"),), failures=(failure,))
    result = plan(observed, 50 * S, PlanParams())
    ready = result.statuses[function.key].condition("Ready")
    assert ready.reason is reason
    assert ready.message == "the next start is in 500 ms; it has failed once, last because of the cause"
    assert result.next_due_us == 50 * S + 500_000


@pytest.mark.parametrize("reason", sorted(PLATFORM_FAULTS))
def test_no_update_is_given_up_for_what_the_platform_did(reason: Reason) -> None:
    function = make_function(revision=2, min_replicas=1)
    ready = make_function(revision=1, min_replicas=1)
    old = status_of(ready_us=1, devices=("n/0",))
    memory = plan(
        Observed(functions={ready.key: ready}, devices=(gpu("n", "0"),), replicas=(old,)), 40 * S, PlanParams()
    ).memory
    for second in range(50, 56):
        failure = Failure(
            function=function.key,
            variant=Variant.GPU,
            revision=function.revision,
            replica_id="x",
            at_us=second * S,
            reason=reason,
            detail="of the cause",
        )
        observed = Observed(
            functions={function.key: function},
            devices=(gpu("n", "0"),),
            replicas=(old,),
            failures=(failure,),
            memory=memory,
        )
        memory = plan(observed, second * S, PlanParams()).memory
    assert memory.functions[function.key].failed is None
    assert memory.functions[function.key].back_off[Variant.GPU].failures == 6
