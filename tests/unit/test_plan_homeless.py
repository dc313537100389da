"""Pods that wait for what does not come: they hold no device for long while others could use it."""

from typing import Any

import pytest
from msgspec.structs import replace
from planning_world import GPU, S, World, gpus, make_function

from stoker.control.planning import Kill
from stoker.reasons import Reason

pytestmark = pytest.mark.unit


class Homeless(World):
    """The pods of function `lost` fit on no node."""

    def settle(self) -> None:
        for identity in self.ids("lost"):
            self._change(identity, waiting=Reason.WAITING_FOR_NODE, waiting_detail="0/2 nodes: Insufficient cpu")
        super().settle()


class Rooted(World):
    """The image of function `f` runs as root, which its namespace may not."""

    def settle(self) -> None:
        for identity in self.ids("f"):
            self._change(identity, waiting=Reason.IMAGE_NEEDS_ROOT, waiting_detail="its image runs as root")
        super().settle()


def world(**scaling: Any) -> Homeless:
    lost = make_function("lost", revision=7, **scaling)
    other = make_function("other", revision=1)
    made = Homeless([lost, other], gpus(1))
    made.never_ready.add(lost.revision)
    return made


def test_a_pod_that_no_node_takes_gives_way_although_its_requests_wait() -> None:
    w = world()
    w.want("lost", 1)
    w.run(1 * S)
    w.want("other", 1)
    w.until(lambda: w.warm("other") == 1)
    kill = next(a for _, a in w.actions if isinstance(a, Kill))
    assert kill.reason is Reason.WAITING_FOR_NODE
    assert "Insufficient cpu" in kill.detail


def test_nor_does_min_replicas_let_it_keep_the_device() -> None:
    w = world(min_replicas=1)
    w.run(1 * S)
    w.want("other", 1)
    w.until(lambda: w.warm("other") == 1)


def test_it_says_how_often_and_why_and_backs_off() -> None:
    w = world(min_replicas=1)
    w.run(1 * S)
    w.want("other", 1)
    w.until(lambda: w.warm("other") == 1)
    w.until(lambda: len(w.starts("lost")) > 1 or w.now_us > 200 * S, limit_us=200 * S)
    assert w.last is not None
    sentence = w.last.statuses["default/lost"].conditions[0].message
    assert "it has failed once, last because no node took its pod" in sentence
    assert w.memory.functions["default/lost"].back_off[GPU].reason is Reason.WAITING_FOR_NODE


def test_without_anybody_else_it_waits_on_as_a_cluster_that_grows_may_want() -> None:
    w = world()
    w.want("lost", 1)
    w.run(100 * S)
    assert len(w.starts("lost")) == 1
    assert not any(isinstance(a, Kill) for _, a in w.actions)


def test_an_update_is_not_given_up_for_it() -> None:
    w = world()
    w.functions["default/lost"] = make_function("lost", revision=1)
    w.want("lost", 1)
    w.until(lambda: w.warm("lost") == 1)
    w.functions["default/lost"] = replace(make_function("lost", revision=7), uid="lost")
    w.want("other", 1)
    w.run(30 * S)
    assert w.memory.functions["default/lost"].failed is None


def test_once_nobody_waits_for_it_any_more_its_pod_goes_after_the_keep_alive() -> None:
    w = world(keep_alive_ttl_us=20 * S)
    w.want("lost", 1)
    w.run(60 * S)
    w.want("lost", 0)
    w.run(1 * S)
    assert not w.ids("lost")
    assert len(w.starts("lost")) == 1


def test_a_pod_that_may_not_run_as_root_goes_at_once_and_is_tried_again_ever_later() -> None:
    function = make_function()
    w = Rooted([function], gpus(1))
    w.never_ready.add(function.revision)
    w.want("f", 1)
    w.run(30 * S)
    assert 3 <= len(w.starts("f")) <= 8
    assert w.last is not None
    status = w.last.statuses[function.key]
    assert status.condition("Ready").reason is Reason.IMAGE_NEEDS_ROOT
    assert status.condition("Stalled").status
    assert "its image runs as root" in status.why_waiting
