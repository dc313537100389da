"""Every queueing policy of the registry as a test parameter: bare, in ServeLate, and both."""

from collections.abc import Callable

import pytest

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy, SlotView
from stoker.policies.queueing.registry import POLICIES, make_queueing

Make = Callable[[], QueuePolicy]
BARE: list[tuple[str, Make]] = list(POLICIES.items())
WRAPPED: list[tuple[str, Make]] = [(f"late-{name}", lambda name=name: make_queueing(name)) for name in POLICIES]  # type: ignore[misc]
ALL = BARE + WRAPPED


def each(policies: list[tuple[str, Make]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", [make for _, make in policies], ids=[name for name, _ in policies])


def take(policy: QueuePolicy, slot: SlotView, now_us: int = 0) -> QueuedRequest | None:
    """What the slot gets in the end, if it asks again whenever the policy says so."""
    while (request := policy.pop(slot, now_us)) is None and (ready_us := policy.next_ready_us(now_us)) is not None:
        assert ready_us > now_us
        now_us = ready_us
    return request
