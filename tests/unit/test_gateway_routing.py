"""Which function a host and a path name."""

import pytest

from stoker.reasons import Reason
from stoker_gateway.answers import read_timing
from stoker_gateway.routing import NoRoute, Route, RoutingTable, host_name

pytestmark = pytest.mark.unit

TABLE = RoutingTable(("a/f", "b/f", "a/g", "a/localhost"), "cluster.example")


@pytest.mark.parametrize(
    ("host", "target", "route"),
    [
        ("127.0.0.1", "/a/f/x", Route("a/f", "/x")),
        ("[::1]", "/a/f", Route("a/f", "/")),
        ("localhost", "/a/f?q=/z", Route("a/f", "/?q=/z")),
        ("localhost", "/a/f//x", Route("a/f", "//x")),
        ("localhost", "/a/f/../../b/f", Route("a/f", "/../../b/f")),
        ("gpu-box.lab", "/a/g/", Route("a/g", "/")),
        ("stoker-gateway.stoker-system.svc", "/a/g/", Route("a/g", "/")),
        ("f.a", "/x?y", Route("a/f", "/x?y")),
        ("f.b.svc", "/a/g/", Route("b/f", "/a/g/")),
        ("G.A.svc.cluster.example.", "/", Route("a/g", "/")),
        ("", "/a/g/", Route("a/g", "/")),
    ],
)
def test_a_host_or_a_path_names_a_function(host: str, target: str, route: Route) -> None:
    assert TABLE.route(host, target) == route


@pytest.mark.parametrize(
    ("host", "target", "reason"),
    [
        ("localhost", "/", Reason.FUNCTION_NOT_FOUND),
        ("localhost", "/a", Reason.FUNCTION_NOT_FOUND),
        ("localhost", "/a/", Reason.FUNCTION_NOT_FOUND),
        ("localhost", "/a?/f", Reason.FUNCTION_NOT_FOUND),
        ("localhost", "/A/f", Reason.FUNCTION_NOT_FOUND),
        ("f.c.svc", "/x", Reason.FUNCTION_NOT_FOUND),
        ("f.a.svc.cluster.local", "/x", Reason.FUNCTION_NOT_FOUND),
        ("f", "/a/f/", Reason.MISDIRECTED),
    ],
)
def test_what_names_none_says_why(host: str, target: str, reason: Reason) -> None:
    route = TABLE.route(host, target)
    assert isinstance(route, NoRoute)
    assert route.reason is reason


def test_a_bare_name_is_told_every_full_url_that_it_could_mean() -> None:
    route = TABLE.route("f", "/x?secret=1")
    assert isinstance(route, NoRoute)
    assert "http://f.a.svc.cluster.example/x or http://f.b.svc.cluster.example/x" in route.detail
    assert "secret" not in route.detail


@pytest.mark.parametrize(
    ("value", "name"), [("a.b:80", "a.b"), ("a.b", "a.b"), ("[::1]:8080", "[::1]"), ("[::1]", "[::1]")]
)
def test_the_port_is_no_part_of_the_host_name(value: str, name: str) -> None:
    assert host_name(value) == name


@pytest.mark.parametrize(
    ("value", "timing"),
    [
        (b"queue;dur=1.5, exec;dur=2.25", (1500, 2250)),
        (b'app;desc="x";dur=9, exec;dur=1, queue;dur=0.1, exec;dur=2', (100, 2000)),
        (b"", (None, None)),
        (b"exec;dur=abc", (None, None)),
    ],
)
def test_the_agents_timing_counts_not_the_replicas(value: bytes, timing: tuple[int | None, int | None]) -> None:
    assert read_timing(value) == timing
