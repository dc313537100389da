"""Revisions and failures of one function: which revision is wanted, when one is given up, when to try again.

Pure folding over stoker.control.planning.FunctionMemory; it starts and stops nothing. The rules are DESIGN 4's row
"revision current": an update that is not ready in its progressDeadline, crashes three times before it was ever
ready or exceeds startupTimeout is given up, and the last ready revision comes back until the spec changes again.
The very first revision has nothing to return to: it is tried again for ever, ever more slowly.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from stoker.control.planning import BackOff, FailedRevision, Failure, FunctionMemory, PlanParams
from stoker.model.function import Function, Variant
from stoker.model.quantity import format_duration
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.reasons import PLATFORM_FAULTS, Reason


def observe(
    memory: FunctionMemory, function: Function, live: Iterable[ReplicaStatus], now_us: int, params: PlanParams
) -> FunctionMemory:
    """Fold in the spec and what is warm. A changed revision is a clean slate but for the last ready one, another
    function of the same name is one altogether.
    """
    if memory.uid != function.uid:
        memory = replace(memory, uid=function.uid) if not memory.uid else FunctionMemory(uid=function.uid)
    if memory.target != function.revision:
        memory = replace(memory, target=function.revision, failed=None, trying_since_us=None, back_off={})
    warm = [r for r in live if r.state is ReplicaState.WARM]
    if memory.failed is None and (
        (memory.last_ready is not None and memory.last_ready.revision == function.revision)
        or any(r.spec.variant is function.primary and r.spec.revision == function.revision for r in warm)
    ):
        memory = replace(memory, last_ready=function, trying_since_us=None)
    back_off = {
        variant: entry
        for variant, entry in memory.back_off.items()
        if not any(_has_recovered(entry, variant, r, now_us, params) for r in warm)
    }
    if len(back_off) != len(memory.back_off):
        memory = replace(memory, back_off=back_off)
    return memory


def _has_recovered(entry: BackOff, variant: Variant, replica: ReplicaStatus, now_us: int, params: PlanParams) -> bool:
    """Whether a replica got ready after the last failure and has been well since. One from before proves nothing."""
    return (
        replica.spec.variant is variant
        and replica.spec.revision == entry.revision
        and replica.ready_us is not None
        and replica.ready_us >= entry.at_us
        and now_us - replica.ready_us >= params.healthy_us
    )


def wanted(memory: FunctionMemory, function: Function) -> Function:
    """The function as of the revision to run: the spec's, or after a failed update the last ready one's process
    with the live fields of the spec.
    """
    last = memory.last_ready
    if memory.failed is None or last is None:
        return function
    spec = function.spec
    cpu = last.spec.cpu_variant
    if cpu is not None and spec.cpu_variant is not None:
        cpu = replace(spec.cpu_variant, container=cpu.container)
    return replace(
        function,
        revision=last.revision,
        work_dir=last.work_dir,
        spec=replace(spec, container=last.spec.container, gpu=last.spec.gpu, cpu_variant=cpu),
    )


def is_updating(memory: FunctionMemory, revision: str) -> bool:
    """Whether `revision` stands to replace another one that was ready."""
    return memory.last_ready is not None and memory.last_ready.revision != revision


def give_up(memory: FunctionMemory, revision: str, detail: str) -> FunctionMemory:
    """The update to `revision` has failed; the last ready revision is wanted from now on."""
    return replace(memory, failed=FailedRevision(revision=revision, detail=detail), trying_since_us=None, back_off={})


def trying(memory: FunctionMemory, revision: str, now_us: int) -> FunctionMemory:
    """A replica of `revision` is being started."""
    if memory.trying_since_us is None and is_updating(memory, revision):
        return replace(memory, trying_since_us=now_us)
    return memory


def check_progress(memory: FunctionMemory, function: Function, now_us: int) -> FunctionMemory:
    """Give up an update that has been tried for progressDeadline without getting ready."""
    deadline_us = function.spec.progress_deadline_us
    if memory.failed is None and memory.trying_since_us is not None and now_us - memory.trying_since_us >= deadline_us:
        entry = memory.back_off.get(function.primary)
        last = f"; its last failure: {entry.detail}" if entry else ""
        return give_up(
            memory, function.revision, f"it was not ready within progressDeadline {format_duration(deadline_us)}{last}"
        )
    return memory


def count_failure(memory: FunctionMemory, function: Function, failure: Failure, params: PlanParams) -> FunctionMemory:
    """Fold in one failure: back-off, and giving up the update where it has failed for good.

    Failures of a revision that is not wanted (any more) count for nothing.
    """
    if failure.amends and memory.failed is not None and memory.failed.revision == failure.revision:
        # The detail in here ends with what the process last said, so it replaces the bare sentence.
        return replace(memory, failed=replace(memory.failed, detail=failure.detail))
    revision = wanted(memory, function).revision
    if failure.revision != revision:
        return memory
    before = memory.back_off.get(failure.variant)
    if before is not None and before.revision != revision:
        before = None
    if failure.amends:
        if before is None:
            return memory
        entry = replace(before, detail=failure.detail)
    else:
        fresh = before is None or (failure.warm_us or 0) >= params.healthy_us
        count = 1 if before is None or fresh else before.failures + 1
        # A warm replica that crashes once is replaced at once: its users should not wait for a first accident.
        free = count == 1 and failure.warm_us is not None
        delay_us = 0 if free else min(params.back_off_max_us, params.back_off_us << min(count - 1, 20))
        entry = BackOff(
            revision=revision,
            failures=count,
            at_us=failure.at_us,
            not_before_us=failure.at_us + delay_us,
            reason=failure.reason,
            detail=failure.detail,
        )
    memory = replace(memory, back_off={**memory.back_off, failure.variant: entry})
    if (
        not failure.amends
        and failure.reason not in PLATFORM_FAULTS
        and is_updating(memory, revision)
        and (entry.failures >= params.max_crashes or failure.reason is Reason.START_TIMEOUT)
    ):
        times = "once" if entry.failures == 1 else f"{entry.failures} times"
        return give_up(memory, revision, f"it failed {times} before it was ready: {failure.detail}")
    return memory
