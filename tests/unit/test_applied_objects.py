"""GpuFunctions and the GpuPolicy as the components act on them: what is decoded, kept, refused and said once."""

from typing import Any

import pytest

from stoker.errors import InvalidObject
from stoker_runtime.applied_functions import AppliedFunctions, function_of
from stoker_runtime.applied_policy import AppliedPolicy
from stoker_runtime.kube.objects import SmallMeta
from stoker_runtime.own_kinds import Applied

pytestmark = pytest.mark.unit


def gpu_function(name: str = "f", *, generation: int = 1, uid: str = "u", **spec: Any) -> Applied:
    good = {"container": {"image": "x"}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "250ms"}}
    return Applied(metadata=SmallMeta(name=name, namespace="a", uid=uid, generation=generation), spec=good | spec)


def policy(name: str = "default", **spec: Any) -> Applied:
    return Applied(metadata=SmallMeta(name=name), spec=spec)


BAD = {"latency": "soon"}


def test_the_newest_form_that_is_understood_is_served_and_why_a_newer_one_is_not_is_kept() -> None:
    applied = AppliedFunctions()
    assert applied.put(gpu_function())
    assert applied.put(gpu_function(generation=2, slo=BAD))
    assert applied.functions["a/f"].generation == 1
    assert "spec.slo.latency" in applied.invalid["a/f"]
    assert applied.put(gpu_function(generation=3, timeout="5s"))
    assert applied.functions["a/f"].spec.timeout_us == 5_000_000
    assert applied.invalid == {}


def test_one_generation_is_decoded_and_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    applied = AppliedFunctions()
    assert applied.put(gpu_function(slo=BAD))
    assert "function_invalid" in capsys.readouterr().out
    assert not applied.put(gpu_function(slo=BAD))
    assert capsys.readouterr().out == ""
    assert (applied.functions, applied.uids) == ({}, {"a/f": "u"})


def test_labels_count_only_where_they_are_given() -> None:
    applied = AppliedFunctions()
    team = {"team.example.org/name": "red"}
    assert applied.put(gpu_function(), labels=team)
    assert not applied.put(gpu_function(), labels=dict(team))
    assert applied.put(gpu_function(), labels={}, annotations=team)
    assert (applied.functions["a/f"].labels, applied.functions["a/f"].annotations) == ({}, team)


def test_a_function_made_anew_owes_nothing_to_the_old_one() -> None:
    applied = AppliedFunctions()
    applied.put(gpu_function())
    assert applied.put(gpu_function(uid="new", slo=BAD))
    assert applied.functions == {}
    assert applied.uids == {"a/f": "new"}


def test_a_function_that_went_may_come_again_as_it_was() -> None:
    applied = AppliedFunctions()
    applied.put(gpu_function())
    applied.remove("a/f")
    applied.remove("a/f")
    assert (applied.functions, applied.invalid, applied.uids) == ({}, {}, {})
    assert applied.put(gpu_function())
    assert list(applied.functions) == ["a/f"]


def test_a_whole_list_removes_what_is_not_in_it_and_says_whether_others_are_served() -> None:
    applied = AppliedFunctions()
    broken = gpu_function("broken", uid="b", container=7)
    assert applied.put_all([gpu_function(), broken])
    assert (list(applied.functions), list(applied.invalid)) == (["a/f"], ["a/broken"])
    assert not applied.put_all([gpu_function(), broken])
    assert not applied.put_all([gpu_function(generation=2, slo=BAD)])
    assert applied.uids == {"a/f": "u"}
    assert applied.put_all([])
    assert applied.uids == {}


def test_a_function_that_makes_no_sense_is_refused_with_its_path() -> None:
    bad = gpu_function(slo=BAD)
    with pytest.raises(InvalidObject, match=r"spec\.slo\.latency"):
        function_of(bad.metadata, bad.spec)


def test_the_last_good_policy_acts_and_the_default_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    applied = AppliedPolicy()
    assert not applied.put(None)
    assert applied.put(policy(queueing="fcfs"))
    assert not applied.put(policy(queueing="fcfs"))
    for _ in range(2):
        assert not applied.put(policy(queueing="magic"))
    assert applied.current.queueing == "fcfs"
    assert "spec.queueing" in applied.problem
    assert capsys.readouterr().out.count("policy_invalid") == 1
    assert applied.put(None)
    assert (applied.current.queueing, applied.problem) == ("least-slack", "")


def test_a_policy_of_another_name_is_none() -> None:
    applied = AppliedPolicy()
    applied.put(policy(queueing="fcfs"))
    assert not applied.put(policy("mine", queueing="edf"))
    assert applied.current.queueing == "fcfs"


def test_what_of_a_policy_does_not_act_is_logged_once_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    applied = AppliedPolicy()
    for _ in range(2):
        applied.put(policy(namespaces=[{"name": "a", "weight": 2}]))
    assert capsys.readouterr().out.count("policy_field_without_effect") == 1
    applied.put(policy(queueing="fcfs"))
    assert "policy_field_without_effect" not in capsys.readouterr().out
