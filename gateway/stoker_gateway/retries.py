"""Whether a gateway may try once more at an agent for a request: the retry budget of its function, counted."""

from collections.abc import Callable

from stoker.metrics import RETRIES, MetricsSink
from stoker_gateway.visit import Visit


class Retries:
    """See the module and stoker.retry_budget."""

    def __init__(self, metrics: MetricsSink, clock_us: Callable[[], int]) -> None:
        self._metrics = metrics
        self._clock_us = clock_us

    def may(self, visit: Visit) -> bool:
        """Ask before each try but the first that a request has on a variant; what is granted is spent."""
        state = visit.state
        assert state is not None, "only what was let in is tried"
        now_us = self._clock_us()
        granted = state.retry_budget.take(now_us)
        self._metrics.inc(RETRIES, *state.labels, "made" if granted else "withheld")
        if not granted:
            visit.note(now_us, "no further agent was tried: the retry budget of the function is spent")
        return granted
