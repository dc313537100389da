"""What the chart tells Stoker's processes, against the settings that they read and the names of their contract."""

import json
from typing import Any

import pytest
from chart_renders import COMPONENTS, WORLDS, component_of, objects, pods

from chart.settings import BY_CHART, EVERYWHERE, KINDS, settable
from stoker.wire.cluster import CA_SECRET, L_COMPONENT, L_NAME, NAME, ROLES, TICKET_SECRET
from stoker_runtime.process import Environment
from stoker_runtime.settings import known_variables

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]

Values = dict[str, Any]


@pytest.fixture(params=WORLDS)
def values(request: pytest.FixtureRequest) -> Values:
    return WORLDS[request.param]


def environments(documents: tuple[Values, ...]) -> list[tuple[str, dict[str, str]]]:
    """Component to environment, as the kubelet would make it, of every process of ours."""
    found = []
    for _, pod in pods(documents):
        for container in pod["spec"]["containers"]:
            if container.get("command", [""])[0] == "python" and "-m" in container["command"]:
                environ = {each["name"]: each.get("value", "10.0.0.1") for each in container["env"]}
                assert len(environ) == len(container["env"]), "a variable is set twice"
                found.append((component_of(pod), environ))
    return found


def test_every_process_knows_every_variable_that_the_chart_sets(values: Values) -> None:
    found = environments(objects(values))
    assert {component for component, _ in found} == set(COMPONENTS)
    for component, environ in found:
        Environment(environ, *KINDS[component])


def test_every_setting_can_be_set_and_arrives() -> None:
    given: Values = {}
    for component in COMPONENTS:
        parts = settable(component)
        given[component] = {
            "settings": {name: part["default"] for name, part in parts.items() if part["default"] != ""}
        }
    for component, environ in environments(objects(given)):
        settings = given[component]["settings"]
        assert {name: environ[name] for name in settings} == {
            name: value if isinstance(value, str) else json.dumps(value).removesuffix(".0")
            for name, value in settings.items()
        }
        Environment(environ, *KINDS[component])


def test_the_chart_sets_what_it_keeps_from_settings() -> None:
    # Where the chart mounts the host's folders is the default.
    left = {"STOKER_STATE_DIR", "STOKER_KUBELET_SOCKET"}
    for component, environ in environments(objects()):
        assert BY_CHART[component] - left <= environ.keys(), component


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_variable_is_the_charts_or_can_be_set_or_is_a_port(component: str) -> None:
    ports = {name for name in known_variables(*KINDS[component]) if name.endswith("_PORT")}
    known = set(known_variables(*KINDS[component]))
    assert known == (BY_CHART[component] | EVERYWHERE | set(settable(component)) | ports)


def test_kubernetes_adds_no_variables_of_its_own_to_any_pod(values: Values) -> None:
    """A Service named stoker-gateway would become STOKER_GATEWAY_PORT, and unknown settings end a process."""
    found = dict(pods(objects(values)))
    assert len(found) >= len(COMPONENTS)
    assert [name for name, pod in found.items() if pod["spec"].get("enableServiceLinks") is not False] == []


def test_processes_find_one_another_by_the_labels_of_the_contract(values: Values) -> None:
    labelled = [
        pod["metadata"]["labels"][L_COMPONENT]
        for _, pod in pods(objects(values))
        if pod["metadata"]["labels"][L_NAME] == NAME
    ]
    assert set(COMPONENTS) <= set(labelled)


def test_certificates_are_read_under_the_names_of_the_contract() -> None:
    named = {
        (each["metadata"]["name"], name)
        for each in objects()
        if each["kind"] == "Role"
        for rule in each["rules"]
        if "secrets" in rule["resources"]
        for name in rule.get("resourceNames", ())
    }
    own = {(f"stoker-{component}", role.secret) for component, role in ROLES.items()}
    made = (CA_SECRET, TICKET_SECRET, *(role.secret for role in ROLES.values()))
    assert named == own | {("stoker-operator", secret) for secret in made} | {("stoker-gateway", TICKET_SECRET)}
