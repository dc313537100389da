"""No pre-warming: requests alone make replicas."""

from typing import ClassVar

from stoker.model.function import PreWarmPolicy
from stoker.policies.prewarm.interface import NOTHING, Forecast, Outlook


class NoPreWarming:
    """Want nothing ahead of requests."""

    name: ClassVar[PreWarmPolicy] = PreWarmPolicy.NONE
    learns: ClassVar[bool] = False

    def forecast(self, outlook: Outlook) -> Forecast:  # noqa: ARG002  the interface's
        return NOTHING
