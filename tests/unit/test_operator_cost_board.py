"""What the operator is told of costs by agents: over failovers and upgrades, in plans, in statuses and at gateways."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from stoker.cost.costs import Bound
from stoker.model.function import CostBounds, Function, Variant
from stoker.model.policy import NamespaceRule, default_policy
from stoker.testing.builders import S, make_function, make_gpu
from stoker.wire.cluster import CostReport, ProfileReport, ReplicaFrame, SpentReport
from stoker_gateway.kubernetes.cost_bounds import bounds_of
from stoker_gateway.kubernetes.objects import RefusedVariant
from stoker_operator.agent_board import AgentBoard
from stoker_operator.cost_board import CostBoard

pytestmark = pytest.mark.unit

POLICY = replace(default_policy(), prices={"A100": 3.6})
DEVICES = tuple(replace(make_gpu(f"{node}/GPU-0"), node=node) for node in ("n1", "n2"))
KEY = "default/f"


def bounded(per_hour: float) -> Function:
    function = make_function()
    slo = replace(function.spec.slo, cost=CostBounds(per_hour=per_hour))
    return replace(function, spec=replace(function.spec, slo=slo))


FUNCTIONS = {KEY: bounded(1.0)}


def frame(node: str, busy: int, spent: tuple[SpentReport, ...] = (), runs: int = 0) -> ReplicaFrame:
    costs = {KEY: {Variant.GPU: CostReport(busy=busy, runs=runs)}}
    return ReplicaFrame(seq=1, node=node, costs=costs, spent={KEY: spent} if spent else {})


class Leader:
    def __init__(self, labels: dict[str, dict[str, str]] | None = None) -> None:
        self.agents = AgentBoard()
        self.board = CostBoard(self.agents, lambda node: (labels or {}).get(node, {}))

    def spent(self, now_us: int) -> int:
        costs = self.board.costs(FUNCTIONS, POLICY, DEVICES, now_us)
        return costs.spent[KEY].micro if KEY in costs.spent else 0


def test_what_several_agents_tell_is_added_up_and_counted_once() -> None:
    leader = Leader()
    for node in ("n1", "n2"):
        leader.agents.heard(node, frame(node, 0), 0, f"pod-{node}")
    assert leader.spent(0) == 0
    leader.agents.heard("n1", frame("n1", 100), S, "pod-n1")
    leader.agents.heard("n2", frame("n2", 30), S, "pod-n2")
    assert leader.spent(S) == 130
    assert leader.spent(2 * S) == 130


def test_a_new_leader_takes_the_last_hour_from_the_agents_and_not_what_was_before() -> None:
    leader = Leader()
    spent = (SpentReport(3_000_000, 40), SpentReport(600_000, 60))
    leader.agents.heard("n1", frame("n1", 1_000_000, spent), 0, "pod")
    now_us = 5000 * S
    assert leader.spent(now_us) == 100
    leader.agents.heard("n1", frame("n1", 1_000_005, spent), now_us, "pod")
    assert leader.spent(now_us) == 105
    assert leader.spent(now_us + 700 * S) == 65


def test_an_agent_that_began_anew_adds_to_what_the_one_before_it_told() -> None:
    leader = Leader()
    leader.agents.heard("n1", frame("n1", 0), 0, "old")
    leader.spent(0)
    leader.agents.heard("n1", frame("n1", 70), S, "old")
    assert leader.spent(S) == 70
    leader.agents.heard("n1", frame("n1", 5, (SpentReport(0, 5),)), 2 * S, "new")
    assert leader.spent(2 * S) == 75
    leader.agents.heard("n1", frame("n1", 6), 3 * S, "new")
    assert leader.spent(3 * S) == 76


def test_a_label_of_the_node_prices_its_devices() -> None:
    leader = Leader({"n2": {"stoker.dev/price-per-hour": "1.5"}})
    costs = leader.board.costs(FUNCTIONS, POLICY, DEVICES, 0)
    assert costs.prices == {"n1/GPU-0": 3_600_000, "n2/GPU-0": 1_500_000}
    assert costs.caps == {KEY: 1_000_000}


def test_the_bound_of_a_namespace_is_shown_to_the_plan() -> None:
    policy = replace(POLICY, namespaces={"default": NamespaceRule(max_cost_per_hour=2.0)})
    costs = Leader().board.costs(FUNCTIONS, policy, DEVICES, 0)
    assert costs.caps == {KEY: 1_000_000, "default": 2_000_000}


def test_a_product_on_which_a_run_is_too_slow_is_told_by_what_agents_measured() -> None:
    leader = Leader()
    slow = ProfileReport(variant=Variant.GPU, product="A100-40GB", p50_ms=900, p99_ms=1000, samples=5)
    leader.agents.heard("n1", replace(frame("n1", 0), profiles={KEY: (slow,)}), 0, "pod")
    assert leader.board.costs(FUNCTIONS, POLICY, DEVICES, 0).slow == {KEY: ("A100-40GB",)}


def test_a_status_says_what_the_last_hour_cost_to_two_digits_and_what_is_refused_until_when() -> None:
    leader = Leader()
    leader.agents.heard("n1", frame("n1", 0), 0, "pod")
    leader.spent(0)
    leader.agents.heard("n1", frame("n1", 123_456, runs=50), S, "pod")
    leader.board.look(S)
    assert leader.board.figure(KEY) == {"perHour": 0.12, "perThousandRequests": 2.5}
    wall_us = round(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()) * S
    bound = Bound(detail="it has spent enough", until_us=61 * S)
    leader.board.planned({KEY: {Variant.GPU: bound}}, S, wall_us)
    said = leader.board.figure(KEY)["refused"]
    assert said == [{"variant": "gpu", "message": "it has spent enough", "until": "2026-01-02T03:05:10Z"}]
    assert leader.board.functions() == {KEY}
    leader.board.planned({}, S, wall_us)
    assert "refused" not in leader.board.figure(KEY)


def test_a_gateway_reads_it_on_its_own_clock_and_passes_over_what_has_ended() -> None:
    said = (
        RefusedVariant(variant=Variant.GPU, message="too dear", until="2026-01-02T03:05:10Z"),
        RefusedVariant(variant=Variant.CPU, message="too dear at all", warm_too=True),
    )
    wall_us = round(datetime(2026, 1, 2, 3, 5, 0, tzinfo=UTC).timestamp()) * S
    assert bounds_of(said, 7 * S, wall_us) == {
        Variant.GPU: Bound(detail="too dear", until_us=17 * S),
        Variant.CPU: Bound(detail="too dear at all", until_us=None, warm_too=True),
    }
    assert set(bounds_of(said, 7 * S, wall_us + 11 * S)) == {Variant.CPU}
    assert bounds_of((replace(said[0], until="tomorrow"),), 0, 0) == {}


def test_nothing_is_told_where_nothing_has_a_price() -> None:
    leader = Leader()
    leader.agents.heard("n1", ReplicaFrame(seq=1, node="n1"), 0, "pod")
    assert leader.board.costs(FUNCTIONS, default_policy(), DEVICES, 0).caps == {}
    leader.board.look(0)
    assert leader.board.functions() == set()
