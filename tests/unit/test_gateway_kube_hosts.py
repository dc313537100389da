"""Own hostnames lead to one function, and no stranger's name leads to all of them."""

import pytest
from gateway_fake_agent import Start, function, starting

from stoker.reasons import Reason
from stoker_gateway.kubernetes.hosts import own_hosts
from stoker_gateway.routing import NoRoute, Route, RoutingTable

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)

IS_OWN = own_hosts("stoker-system", "cluster.example", "gpu.example.org, LB.example.org.")
TABLE = RoutingTable(
    ("a/f", "b/g"),
    "cluster.example",
    hostnames={"ocr.example.com": "a/f", "old.example.com": "a/deleted"},
    by_path=IS_OWN,
)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "127.0.0.1",
        "10.0.3.4",
        "[::1]",
        "stoker-gateway",
        "stoker-gateway.stoker-system",
        "stoker-gateway.stoker-system.svc",
        "stoker-gateway.stoker-system.svc.cluster.example",
        "gpu.example.org",
        "lb.example.org",
    ],
)
def test_the_gateways_own_names_lead_by_path(host: str) -> None:
    assert IS_OWN(host)
    assert TABLE.route(host, "/a/f/x?y") == Route("a/f", "/x?y")


@pytest.mark.parametrize("host", ["example.com", "old.example.com", "x.ocr.example.com", "a.b.stoker-system"])
def test_any_other_name_leads_nowhere(host: str) -> None:
    route = TABLE.route(host, "/a/f/x")
    assert isinstance(route, NoRoute)
    assert route.reason is Reason.FUNCTION_NOT_FOUND
    assert host in route.detail


@pytest.mark.parametrize("host", ["ocr.example.com", "OCR.example.com.", "f.a", "f.a.svc", "f.a.svc.cluster.example"])
def test_a_functions_names_lead_to_it_with_the_whole_path(host: str) -> None:
    assert TABLE.route(host, "/b/g/x") == Route("a/f", "/b/g/x")


def test_the_bare_name_still_gets_the_full_one() -> None:
    route = TABLE.route("f", "/x")
    assert isinstance(route, NoRoute)
    assert (route.reason, "http://f.a.svc.cluster.example/x" in route.detail) == (Reason.MISDIRECTED, True)


async def test_hostnames_change_hands_with_the_functions(start: Start) -> None:
    g = await start(function("f"), function("g"), by_path=IS_OWN)
    assert (await g.call("/x", host="own.example.com")).status == 404
    g.gateway.set_functions(g.functions, {"own.example.com": "ns/g"})
    assert (await g.call("/x", host="own.example.com")).status == 200
    g.gateway.set_functions(g.functions, {"own.example.com": "ns/f"})
    assert (await g.call("/x", host="own.example.com")).status == 200
    assert [run.header("stoker-function") for run in g.agent.runs] == ["ns/g", "ns/f"]
    g.gateway.set_functions({"ns/g": g.functions["ns/g"]}, {"own.example.com": "ns/f"})
    assert (await g.call("/x", host="own.example.com")).status == 404
