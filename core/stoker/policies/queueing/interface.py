"""What a queueing policy is: one object per agent that says which request runs next on a free slot.

The agent and the simulator drive the same object through this interface only. A policy never reads a
clock: `now_us` is an argument, in integer microseconds (floats would break replay).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.commitments import Commitments, Place
from stoker.policies.queueing.lanes import Lane


class Guarantees(Struct, frozen=True, kw_only=True):
    """What a policy declares; the conformance suite tests each, and finds a witness for each that is False."""

    starvation_free: bool
    """Every queued request is popped in the end, whatever arrives after it, while slots come free."""
    work_conserving: bool
    """pop() never returns None while a request of an eligible flow is queued. Where False, next_ready_us() bounds how
    long it does."""
    weight_respecting: bool
    """Service follows set_weights()."""
    order: str
    """The order of eligible requests in words, as in `arrival` or `objective deadline`."""


class SlotView(Struct, frozen=True):
    """A free slot: its device, and which flows could use it now."""

    device_id: str
    eligible: Collection[str]
    """Flows that have a live replica with free concurrency on the device. A live view: read, never kept."""
    warm: Collection[str] | None = None
    """Those of them that are resident on the device; None: all. What is not pays QueuedRequest.start_us first."""


class Weights(Struct, frozen=True):
    """Fair shares, at least 1 each; who is not named has 1. Fairness is two-level: the namespaces share the device by
    their weights, and the flows of one namespace share what it gets.
    """

    flows: Mapping[str, int] = {}
    namespaces: Mapping[str, int] = {}


class QueueParams(Struct, frozen=True, kw_only=True):
    """What a policy is made with; each takes what it knows and ignores the rest."""

    seed: int = 0
    """Of a policy that draws."""
    slots: int = 1
    """Concurrent executions over all devices that are served by this policy object, as far as they are known."""
    tuning: Mapping[str, int] = {}
    """Constants of the policy that are not as by default, by name (stoker.policies.queueing.tuning): for studies."""


DEFAULTS = QueueParams()


class QueuePolicy(Protocol):
    """See the module. Every request that was pushed leaves by exactly one of pop, cancel, drop_expired, export."""

    @property
    def name(self) -> str:
        """As a user writes it in a GpuPolicy. Class variables of the policies; ServeLate gives the wrapped one's."""

    @property
    def guarantees(self) -> Guarantees:
        """What the conformance suite holds it to."""

    def push(self, request: QueuedRequest) -> None:
        """Queue a request. Pushing again after a failed dispatch keeps `arrival_us`."""

    def pop(self, slot: SlotView, now_us: int) -> QueuedRequest | None:
        """Take the request that runs next on the slot; None when no eligible flow has one.

        A policy that is not work-conserving answers None also where it holds back what it has: next_ready_us() says
        when to ask again.
        """

    def done(self, request: QueuedRequest, actual_us: int) -> None:
        """A popped request ended (well, failed or cancelled) after `actual_us` on its slot."""

    def cancel(self, request_id: str) -> QueuedRequest | None:
        """Take a queued request out; None when it is not queued (any more)."""

    def missed(self, request: QueuedRequest) -> None:
        """The request, which has just left by cancel(), can no longer be on time; it runs or expires elsewhere."""

    def drop_expired(self, now_us: int) -> list[QueuedRequest]:
        """Take out all requests whose `timeout_us` is at or before now."""

    def next_expiry_us(self) -> int | None:
        """The earliest `timeout_us` of what is queued: when drop_expired() is due; None when empty."""

    def next_ready_us(self, now_us: int) -> int | None:
        """The first instant after now at which pop() may give, by the passing of time alone, what it holds back now.

        None: nothing is held back (always, of a policy that is work-conserving).
        """

    def set_weights(self, weights: Weights) -> None:
        """The shares from now on. Policies without fairness ignore them."""

    def export(self) -> list[QueuedRequest]:
        """Take everything out, in the order of arrival: what the next policy gets pushed."""

    def queued(self, flow: str | None = None) -> int:
        """How many requests are queued, of one flow or in all."""

    def work_ahead_us(self, request: QueuedRequest, flows: Collection[str]) -> int:
        """Predicted execution time of the queued requests of `flows` that would run before `request` (not queued)."""

    def queued_us(self, flows: Collection[str]) -> int:
        """Predicted execution time of all that is queued in `flows`."""

    def schedule(self, now_us: int) -> Iterable[QueuedRequest]:
        """What is queued, in the order in which it would be popped if every flow were eligible; changes nothing."""

    def arrange(self, lanes: Mapping[str, Lane]) -> None:
        """These are the slots of each flow from now on; flows without any are left out. Nothing is promised before."""

    @property
    def commitments(self) -> Commitments | None:
        """What is queued in its order, with what was promised; None: it has no fixed order, or no
        lanes yet. Only ServeLate keeps any.
        """

    def place(self, request: QueuedRequest) -> Place:
        """Where the request would stand among the commitments, were it pushed now. Only where there are any."""
