"""Own hostnames: who gets which."""

import pytest
from cluster_world import in_namespace
from msgspec.structs import replace
from planning_world import make_function

from stoker.hostnames import owners
from stoker.model.function import Access, Function
from stoker.reasons import Reason

pytestmark = pytest.mark.unit

SUFFIXES = {"team-a": ("ml.example.com",), "team-b": ("ml.example.com", ".b.example.org")}


def named(namespace: str, name: str, *hostnames: str) -> Function:
    function = in_namespace(make_function(name), namespace)
    return replace(function, spec=replace(function.spec, access=Access(hostnames=hostnames)))


def suffixes(namespace: str) -> tuple[str, ...]:
    return SUFFIXES.get(namespace, ())


def test_the_first_one_gets_the_name_and_the_others_are_told() -> None:
    first = named("team-a", "first", "x.ml.example.com")
    second = named("team-a", "second", "x.ml.example.com", "y.ml.example.com")
    taken, conflicts = owners([first, second], suffixes)
    assert taken == {"x.ml.example.com": "team-a/first", "y.ml.example.com": "team-a/second"}
    ((key, (conflict,)),) = conflicts.items()
    assert (key, conflict.hostname, conflict.reason) == ("team-a/second", "x.ml.example.com", Reason.NAME_CONFLICT)
    assert "team-a/first" in conflict.detail
    assert owners([second, first], suffixes)[0]["x.ml.example.com"] == "team-a/second"


def test_another_tenants_function_is_not_named() -> None:
    functions = [named("team-a", "secret", "x.ml.example.com"), named("team-b", "g", "x.ml.example.com")]
    _, conflicts = owners(functions, suffixes)
    assert "secret" not in conflicts["team-b/g"][0].detail


@pytest.mark.parametrize(
    ("namespace", "hostname", "allowed"),
    [
        ("team-a", "ml.example.com", True),
        ("team-a", "deep.x.ml.example.com", True),
        ("team-a", "X.ML.Example.com", True),
        ("team-a", "xml.example.com", False),
        ("team-a", "ml.example.com.evil.net", False),
        ("team-a", "x.b.example.org", False),
        ("team-b", "x.b.example.org", True),
        ("team-c", "x.ml.example.com", False),
    ],
)
def test_a_name_must_be_or_end_in_a_suffix_of_its_namespace(namespace: str, hostname: str, *, allowed: bool) -> None:
    taken, conflicts = owners([named(namespace, "f", hostname)], suffixes)
    assert bool(taken) is allowed
    assert bool(conflicts) is not allowed


def test_a_name_that_was_refused_is_free_for_the_next_and_one_given_twice_counts_once() -> None:
    functions = [named("team-c", "f", "x.ml.example.com"), named("team-a", "g", "x.ml.example.com", "x.ml.example.com")]
    taken, conflicts = owners(functions, suffixes)
    assert taken == {"x.ml.example.com": "team-a/g"}
    assert list(conflicts) == ["team-c/f"]
    assert "no hostnames" in conflicts["team-c/f"][0].detail


def test_functions_without_hostnames_cost_nothing() -> None:
    assert owners([make_function()], suffixes) == ({}, {})
