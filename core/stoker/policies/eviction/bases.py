"""What eviction policies have by default: those that keep until memory is needed, and those that keep for a time."""

from typing import ClassVar

from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.interface import DEFAULTS, EvictionParams, IdleResident


class UntilNeeded:
    """Nobody leaves unless memory is needed; value() says who then does."""

    keep_alive: ClassVar[KeepAlivePolicy | None] = None
    ages: ClassVar[bool] = False
    fades: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def __init__(self, params: EvictionParams = DEFAULTS) -> None:
        """No parameter matters here."""

    def keep_until_us(self, resident: IdleResident) -> int | None:  # noqa: ARG002  the interface's
        return None


class ForATime:
    """Everybody leaves when its time is over; where memory is needed earlier, whoever would leave first."""

    keep_alive: ClassVar[KeepAlivePolicy | None] = None
    ages: ClassVar[bool] = False
    fades: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def __init__(self, params: EvictionParams = DEFAULTS) -> None:
        self._params = params

    def stays_us(self, resident: IdleResident) -> int:
        """How long it may be idle, in microseconds."""
        return resident.ttl_us if self._params.ttl_us is None else self._params.ttl_us

    def keep_until_us(self, resident: IdleResident) -> int | None:
        return resident.idle_since_us + self.stays_us(resident)

    def value(self, resident: IdleResident, now_us: int) -> float:  # noqa: ARG002  the order needs no clock
        return resident.idle_since_us + self.stays_us(resident)
