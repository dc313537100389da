"""A request as the queueing policies see it. All times are microseconds on the agent's clock."""

from msgspec import Struct

from stoker.model.function import Priority, Variant


class QueuedRequest(Struct, kw_only=True):
    """One admitted request that waits for a slot."""

    id: str
    flow: str
    """The flow that it queues in (stoker.names.flow_of): `namespace/name`, or `namespace/name:cpu` for the CPU variant
    beside a GPU one, since only a slot where a replica of its variant lives can run it."""
    variant: Variant
    arrival_us: int
    """When it came to the agent first; kept when it is pushed again."""
    objective_us: int
    """Absolute deadline by the objective. Orders; never kills."""
    timeout_us: int
    """Absolute hard cut: it is dropped when this passes before its dispatch."""
    predicted_exec_us: int
    """Predicted execution time (a mean, or the prior of an unknown function)."""
    priority: Priority = Priority.STANDARD
    cold: bool = False
    percentile: float = 99.0
    """Of the function's objective: how many of its requests are to be on time, in percent."""
    start_us: int = 0
    """Predicted time until the function is resident, where the slot's device does not hold it yet (SlotView.warm)."""
    memory_mib: int = 0
    """Device memory of one replica."""

    promise_us: int = 0
    """The last instant at which its start keeps what was promised of it at admission; 0: nothing was."""
    finish_us: int = 0
    """Predicted time from its arrival to its end, as at its admission; 0: nobody looked."""
    behind: bool = False
    """It was taken although it would break promises where its order puts it: it runs behind all that can be on time."""
    late_ok: bool = True
    """False: once it can no longer be on time it is not run any more (early drop)."""

    @property
    def namespace(self) -> str:
        return self.flow.partition("/")[0]

    @property
    def latest_start_us(self) -> int:
        """The last instant at which a dispatch still meets the objective: slack = this - now."""
        return self.objective_us - self.predicted_exec_us
