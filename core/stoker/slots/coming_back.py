"""What an agent, live or simulated, does for requests that it refuses and that come back: places, and honest instants.

It knows which slots a flow has (stoker.slots.arrangement) and what was refused why; who has which place is the ledger's
to say (stoker.slots.places), which is told the rest.
"""

from msgspec import Struct

from stoker.model.request import QueuedRequest
from stoker.reasons import MISSES
from stoker.slots.arrangement import AnyArrangement
from stoker.slots.contention import WINDOW_US
from stoker.slots.places import HORIZON_US, Place, Places, Redemption
from stoker.wire.agent import WANT_PLACE, Refusal


class Reserved(Struct, frozen=True):
    """Work that has a place before a request."""

    ahead_us: int = 0
    """Of all flows that it waits with."""
    own_us: int = 0
    """Of its own flow."""


NOTHING = Reserved()


class ComingBack:
    """See the module."""

    def __init__(self, places: Places, arrangement: AnyArrangement) -> None:
        self._places = places
        self._arrangement = arrangement

    def redeem(self, said: str, flow: str, now_us: int) -> Redemption | None:
        """What comes of what a request says in Stoker-Ticket; None where it names no place."""
        if not said or said == WANT_PLACE:
            return None
        return self._places.redeem(said, flow, now_us)

    def taken(self, said: str, redemption: Redemption | None) -> None:
        """A request was taken: the place that it named and came too early for is for others then."""
        if redemption is Redemption.EARLY:
            self._places.give_back(said)

    def before(self, request: QueuedRequest, now_us: int) -> Reserved:
        """What has a place before a request that comes now without one."""
        if not len(self._places):
            return NOTHING
        servers, flows = self._arrangement.around(request.flow)
        until_us, level = request.latest_start_us, request.priority.level
        ahead_us = self._places.reserved_us(flows, servers, now_us, until_us, level)
        own_us = self._places.reserved_us((request.flow,), servers, now_us, until_us) if ahead_us else 0
        return Reserved(ahead_us, own_us)

    def refused(
        self, refusal: Refusal, request: QueuedRequest, said: str, redemption: Redemption | None, share_us: int
    ) -> Refusal:
        """A request that came now (its `arrival_us`) is refused: what it is told, in the same refusal. One that wants a
        place gets one if there is one; `share_us` is its flow's share of WINDOW_US, where it is bound to one; else 0.
        """
        if redemption is not None:
            refusal.redemption = redemption.value
        if refusal.reason not in MISSES or refusal.retry_after_ms is None:
            return refusal
        now_us, objective_us = request.arrival_us, request.objective_us - request.arrival_us
        earliest_us = now_us + min(refusal.retry_after_ms * 1000, HORIZON_US)
        refusal.room_us = earliest_us - now_us
        servers, flows = self._arrangement.around(request.flow)
        apart_us = 0
        if share_us:
            apart_us = 2 * request.predicted_exec_us * WINDOW_US // share_us
        place = self._places.held(said) if redemption is Redemption.EARLY else None
        if said == WANT_PLACE:
            place = self._places.offer(
                request.flow,
                flows,
                exec_us=request.predicted_exec_us,
                servers=servers,
                earliest_us=earliest_us,
                now_us=now_us,
                objective_us=objective_us,
                apart_us=apart_us,
                level=request.priority.level,
            )
        if place is not None:
            return _with_place(refusal, place, now_us)
        step_us = max(request.predicted_exec_us // servers, apart_us // 2)
        at_us = self._places.come_back_us(
            request.flow, step_us=step_us, earliest_us=earliest_us, now_us=now_us, objective_us=objective_us
        )
        refusal.retry_after_ms = -(-(at_us - now_us) // 1000)
        return refusal


def _with_place(refusal: Refusal, place: Place, now_us: int) -> Refusal:
    refusal.ticket = place.id
    # Whole milliseconds, and never an instant at which the place is not good.
    refusal.retry_after_ms = -(-(place.at_us - now_us) // 1000)
    refusal.ticket_window_ms = max(0, (place.void_us - now_us) // 1000 - refusal.retry_after_ms)
    return refusal
