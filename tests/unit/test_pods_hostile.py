"""Hostile functions and pods against the decoder, the builder and the operator's re-check, with admission off."""

import re
from typing import Any

import pytest
import yaml
from pod_shapes import ROOT, decoded, document_of, entries, look_up, params, pod_of, put

from stoker.errors import InvalidObject
from stoker.model.function import Function, Variant
from stoker.model.policy import PodSecurity
from stoker.pods.build import build_pod
from stoker.pods.forbidden import FOREIGN_ANNOTATIONS, forbidden

pytestmark = pytest.mark.unit

HOSTILE = entries("hostile_functions")
HARMLESS = [entry for entry in HOSTILE if entry["by"] == "nobody"]
REFUSED = [entry for entry in HOSTILE if entry["by"] != "nobody"]
PODS = entries("hostile_pods")
ADDITIONS = entries("additions")


def document(entry: dict[str, Any]) -> dict[str, Any]:
    return document_of(**{part: entry[part] for part in ("container", "spec", "metadata") if part in entry})


def build_all(function: Function) -> None:
    for variant in function.variants:
        build_pod(function, variant, params())


def test_there_are_at_least_sixty_hostile_functions_of_every_verdict() -> None:
    assert len(REFUSED) >= 60
    assert {entry["by"] for entry in HOSTILE} == {"schema", "decoder", "builder", "nobody"}
    assert len({entry["name"] for entry in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry["name"])
def test_a_hostile_function_is_refused_with_a_sentence_when_admission_is_off(entry: dict[str, Any]) -> None:
    with pytest.raises(InvalidObject) as caught:
        build_all(decoded(document(entry)))
    assert entry["says"] in str(caught.value)
    if entry["by"] == "builder":
        decoded(document(entry))


@pytest.mark.parametrize("entry", HARMLESS, ids=lambda entry: entry["name"])
def test_what_is_not_refused_does_no_harm(entry: dict[str, Any]) -> None:
    assert entry["because"]
    pod = pod_of(decoded(document(entry)))
    for path, value in entry.get("holds", {}).items():
        assert look_up(pod, path) == value, path
    for path in entry.get("lacks", ()):
        assert look_up(pod, path) is None, path
    env = {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}
    assert {name: env.get(name) for name in entry.get("env", {})} == entry.get("env", {})
    assert forbidden(pod) is None


@pytest.mark.parametrize("entry", PODS, ids=lambda entry: entry["name"])
def test_a_pod_with_something_forbidden_is_refused_by_the_operator_itself(entry: dict[str, Any]) -> None:
    said = forbidden(put(base(entry), entry["set"]))
    assert said is not None
    assert entry["says"] in said


def test_the_operator_and_the_admission_policy_forbid_the_same_annotations() -> None:
    policies = yaml.load_all((ROOT / "crds" / "admission" / "pods.yaml").read_text(), Loader=yaml.CSafeLoader)
    variables = next(each for each in policies if each["kind"] == "ValidatingAdmissionPolicy")["spec"]["variables"]
    (rule,) = (each["expression"] for each in variables if each["name"] == "foreignAnnotations")
    listed, _, _ = rule.partition("].exists(")
    assert sorted(re.findall(r"'([^']+)'", listed)) == sorted(FOREIGN_ANNOTATIONS)


@pytest.mark.parametrize("entry", ADDITIONS, ids=lambda entry: entry["name"])
def test_what_webhooks_normally_add_passes(entry: dict[str, Any]) -> None:
    assert forbidden(put(base(entry), entry["set"])) is None


def test_an_account_that_is_allowed_and_the_user_of_an_image_in_a_baseline_namespace_pass() -> None:
    pod = pod_of(decoded(document_of(container={"serviceAccountName": "runner"})))
    assert forbidden(pod) is not None
    assert forbidden(pod, allowed_service_accounts=("runner",)) is None
    root = pod_of(decoded(document_of()), with_params=params(PodSecurity.BASELINE))
    assert forbidden(root) is not None
    assert forbidden(root, level=PodSecurity.BASELINE) is None
    root["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = ["CHOWN"]
    assert forbidden(root, level=PodSecurity.BASELINE) is None
    root["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = ["NET_ADMIN"]
    assert forbidden(root, level=PodSecurity.BASELINE) is not None


def base(entry: dict[str, Any]) -> dict[str, Any]:
    only_cpu = {"gpu": {"memory": "1Gi"}, "cpuVariant": {}}
    return pod_of(decoded(document_of(spec=only_cpu)), Variant(entry.get("variant", "gpu")))
