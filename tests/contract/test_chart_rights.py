"""Who may do what by the chart's RBAC, as the API server itself judges it: what each component does, and no more."""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from chart_renders import COMPONENTS, objects
from crd_server import Server
from msgspec import Struct

pytestmark = [pytest.mark.contract, pytest.mark.timeout(120)]
pytest_plugins = ("crd_server_fixture",)

PREFIX = "rights"
"""Of the names, so that these roles are nobody else's."""
INGRESS = {"gateway": {"hostnames": {"kind": "Ingress"}}}
ROUTES = {"gateway": {"hostnames": {"kind": "HTTPRoute", "parentGateway": "edge/public"}}}

# Lines: VERBS RESOURCE[.GROUP][/SUBRESOURCE] [NAME] in WHERE. `own` is Stoker's namespace, `tenant` another one, `all`
# all of them or the cluster.
OWN_KINDS = """
    list,watch gpufunctions.stoker.dev in all
    list,watch gpupolicies.stoker.dev in all
    list,watch functionnodes.stoker.dev in all
"""
OF_KUBERNETES = """
    create pods/binding in tenant
    list,watch nodes in all
    list,watch persistentvolumeclaims in all
    create events.events.k8s.io in tenant
    get configmaps extension-apiserver-authentication in kube-system
    create tokenreviews.authentication.k8s.io in all
    create subjectaccessreviews.authorization.k8s.io in all
"""
"""Some of what kube-scheduler may by the roles that Kubernetes gives its own."""
ALLOWED = {
    "operator": OWN_KINDS
    + """
    get gpufunctions.stoker.dev in tenant
    patch gpufunctions.stoker.dev/status in tenant
    create gpupolicies.stoker.dev in all
    create,delete functionnodes.stoker.dev in all
    list,watch nodes in all
    list,watch serviceaccounts in all
    list,watch pods in all
    get,create,patch,delete pods in tenant
    list events in all
    list events in tenant
    list,watch services in all
    get,create,patch services in tenant
    list,watch networkpolicies.networking.k8s.io in all
    get,create,patch networkpolicies.networking.k8s.io in tenant
    list,watch controllerrevisions.apps in all
    get,create,patch,delete controllerrevisions.apps in tenant
    create,list,watch leases.coordination.k8s.io in own
    get,patch leases.coordination.k8s.io rights-operator in own
    create secrets in own
    get,patch secrets stoker-ca in own
    get,patch secrets stoker-tls-operator in own
    get,patch secrets stoker-tls-scheduler in own
    get,patch secrets stoker-tls-node in own
    get,patch secrets stoker-tls-gateway in own
    get,patch secrets stoker-tickets in own
    """,
    "scheduler": OWN_KINDS
    + OF_KUBERNETES
    + """
    list,watch pods in all
    create leases.coordination.k8s.io in own
    get,update leases.coordination.k8s.io rights-scheduler in own
    get secrets stoker-tls-scheduler in own
    """,
    "node": OWN_KINDS
    + """
    patch functionnodes.stoker.dev/status node-a in all
    list,watch pods in all
    list,watch nodes in all
    create leases.coordination.k8s.io in own
    patch leases.coordination.k8s.io stoker-node-node-a in own
    get secrets stoker-tls-node in own
    """,
    "gateway": OWN_KINDS
    + """
    list,watch pods in own
    create tokenreviews.authentication.k8s.io in all
    get secrets stoker-tls-gateway in own
    get secrets stoker-tickets in own
    """,
}
NOBODY = """
    list,watch,get,delete secrets in own
    list,watch,get,create,patch,delete secrets in tenant
    list secrets in all
    get secrets another in own
    update,delete secrets stoker-ca in own
    create,update,patch,delete endpointslices.discovery.k8s.io in tenant
    create,update,patch endpoints in tenant
    create pods/exec in tenant
    create pods/exec in own
    create pods/ephemeralcontainers in tenant
    create serviceaccounts/token stoker-operator in own
    create,update,patch,delete serviceaccounts in tenant
    impersonate users in all
    impersonate serviceaccounts in tenant
    create,update,patch,bind,escalate clusterroles.rbac.authorization.k8s.io in all
    create,update,patch clusterrolebindings.rbac.authorization.k8s.io in all
    create,bind,escalate roles.rbac.authorization.k8s.io in own
    create rolebindings.rbac.authorization.k8s.io in own
    update,patch,delete nodes in all
    get,create nodes/proxy in all
    patch nodes/status in all
    create,update,patch,delete gpufunctions.stoker.dev in tenant
    update,patch,delete gpupolicies.stoker.dev in all
    update,patch functionnodes.stoker.dev in all
    create,update,patch,delete configmaps in own
    list configmaps in own
    update,delete leases.coordination.k8s.io somebody-else in kube-system
    create,update,patch validatingwebhookconfigurations.admissionregistration.k8s.io in all
    create,update,patch,delete validatingadmissionpolicies.admissionregistration.k8s.io in all
    create,update,patch,delete customresourcedefinitions.apiextensions.k8s.io in all
    create,patch,delete deployments.apps in own
    create,patch daemonsets.apps in own
    create,delete namespaces in all
    delete services in tenant
    delete networkpolicies.networking.k8s.io in tenant
    create,patch,list ingresses.networking.k8s.io in tenant
"""
DENIED = {
    "operator": """
    get,patch leases.coordination.k8s.io somebody-else in own
    patch functionnodes.stoker.dev/status in all
    create tokenreviews.authentication.k8s.io in all
    get,watch,create,patch,delete events in tenant
    update gpufunctions.stoker.dev/status in tenant
    update gpufunctions.stoker.dev/finalizers in tenant
    list,create,patch,delete ingresses.networking.k8s.io in own
    list,create,patch,delete httproutes.gateway.networking.k8s.io in own
    """,
    "scheduler": """
    patch gpufunctions.stoker.dev/status in tenant
    patch functionnodes.stoker.dev/status in all
    get,update leases.coordination.k8s.io somebody-else in own
    get secrets stoker-tls-operator in own
    get,patch secrets stoker-ca in own
    create secrets in own
    create pods in tenant
    create,patch services in tenant
    """,
    "node": """
    patch gpufunctions.stoker.dev/status in tenant
    create,delete functionnodes.stoker.dev in all
    get,update,delete leases.coordination.k8s.io stoker-node-node-a in own
    patch leases.coordination.k8s.io stoker-node-node-a in tenant
    get secrets stoker-tls-operator in own
    get,patch secrets stoker-ca in own
    create secrets in own
    create,patch,delete pods in tenant
    patch pods/status in tenant
    create tokenreviews.authentication.k8s.io in all
    create,patch services in tenant
    """,
    "gateway": """
    list,watch pods in tenant
    list pods in all
    create,patch,delete pods in own
    list nodes in all
    patch gpufunctions.stoker.dev/status in tenant
    patch functionnodes.stoker.dev/status in all
    create,get,patch leases.coordination.k8s.io in own
    get secrets stoker-tls-operator in own
    get,patch secrets stoker-ca in own
    create secrets in own
    create subjectaccessreviews.authorization.k8s.io in all
    create,patch services in tenant
    """,
}


class Question(Struct, frozen=True):
    verb: str
    resource: str
    group: str
    subresource: str
    name: str
    where: str

    def attributes(self, own: str) -> dict[str, str]:
        namespace = {"own": own, "tenant": "default", "all": ""}.get(self.where, self.where)
        return {
            "verb": self.verb,
            "resource": self.resource,
            "group": self.group,
            "subresource": self.subresource,
            "name": self.name,
            "namespace": namespace,
        }


def questions(table: str) -> Iterator[Question]:
    for line in filter(None, map(str.strip, table.splitlines())):
        verbs, what, *name, word, where = line.split()
        assert word == "in"
        kind, _, subresource = what.partition("/")
        resource, _, group = kind.partition(".")
        for verb in verbs.split(","):
            yield Question(verb, resource, group, subresource, "".join(name), where)


class Right(Struct, frozen=True):
    """What one rule of a role gives, as questions() asks for it."""

    verb: str
    resource: str
    group: str
    subresource: str
    name: str
    own: bool
    """In Stoker's namespace only."""


def rights_in_chart(component: str) -> Iterator[Right]:
    """Of the roles that the chart makes for a component; not of those that are Kubernetes' own."""
    for role in objects({"fullnameOverride": PREFIX}):
        if role["kind"] not in ("Role", "ClusterRole") or role["metadata"]["name"] != f"{PREFIX}-{component}":
            continue
        for rule in role["rules"]:
            parts = (rule["verbs"], rule["resources"], rule["apiGroups"], rule.get("resourceNames", [""]))
            for verb, what, group, name in itertools.product(*parts):
                resource, _, subresource = what.partition("/")
                yield Right(verb, resource, group, subresource, name, role["kind"] == "Role")


class Judge:
    """The roles of one render, in a namespace of their own, and what the server says of them."""

    def __init__(self, server: Server, values: dict[str, Any], prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self.own = server.namespace()
        for each in objects({**values, "fullnameOverride": prefix}, namespace=self.own):
            if each["kind"] in ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
                self._make(each)

    def _make(self, document: dict[str, Any]) -> None:
        meta = document["metadata"]
        within = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
        version, plural = document["apiVersion"], f"{document['kind'].lower()}s"
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        made = self._server.request("POST", f"{root}{within}/{plural}", document)
        assert made.ok, made.message

    def may(self, component: str, question: Question) -> bool:
        account = f"system:serviceaccount:{self.own}:{self._prefix}-{component}"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{self.own}", "system:authenticated"]
        attributes = question.attributes(self.own)
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "groups": groups, "resourceAttributes": attributes},
        }
        answer = self._server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert answer.ok, answer.message
        return bool(answer.content["status"]["allowed"])

    def until_effective(self) -> None:
        """The server's authorizer watches roles; it has seen all once it has seen the last ones."""
        last = [(each, question) for each in COMPONENTS for question in tuple(questions(ALLOWED[each]))[-1:]]
        self._server.until(lambda: all(self.may(*each) for each in last))


@pytest.fixture(scope="module")
def judge(server: Server) -> Judge:
    made = Judge(server, {}, PREFIX)
    made.until_effective()
    return made


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_may_do_what_it_does(judge: Judge, component: str) -> None:
    refused = [each for each in questions(ALLOWED[component]) if not judge.may(component, each)]
    assert refused == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_may_do_no_more(judge: Judge, component: str) -> None:
    allowed = set(questions(ALLOWED[component]))
    asked = [each for table in (NOBODY, DENIED[component]) for each in questions(table)]
    assert not allowed & set(asked)
    assert [each for each in asked if judge.may(component, each)] == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_chart_gives_a_component_exactly_the_rights_that_it_uses(component: str) -> None:
    given = set(rights_in_chart(component))
    used = set()
    of_others = set(questions(OF_KUBERNETES)) if component == "scheduler" else set()
    for each in set(questions(ALLOWED[component])) - of_others:
        right = Right(each.verb, each.resource, each.group, each.subresource, each.name, each.where == "own")
        # Where no rule could give a name, the table has an example.
        used.add(right if right in given else msgspec.structs.replace(right, name=""))
    assert given == used


def test_hostnames_are_kept_by_the_operator_in_its_own_namespace_only_where_they_are_asked_for(server: Server) -> None:
    for values, prefix, resource in (
        (INGRESS, "ingress", "ingresses.networking.k8s.io"),
        (ROUTES, "routes", "httproutes.gateway.networking.k8s.io"),
    ):
        judge = Judge(server, values, prefix)
        allowed = tuple(questions(f"list,create,patch,delete {resource} in own"))
        server.until(lambda judge=judge, allowed=allowed: all(judge.may("operator", each) for each in allowed))
        denied = questions(f"list,create,patch,delete {resource} in tenant\n get,update {resource} in own")
        assert not any(judge.may("operator", each) for each in denied)


def test_the_account_of_helm_test_may_look_at_this_release_only(judge: Judge) -> None:
    allowed = questions("get deployments.apps rights-gateway in own\n get daemonsets.apps rights-node in own")
    assert all(judge.may("check", each) for each in allowed)
    denied = questions("get deployments.apps another in own\n list pods in own\n get secrets stoker-ca in own")
    assert not any(judge.may("check", each) for each in denied)


def test_tenants_get_no_rights_from_the_chart(server: Server) -> None:
    """Nothing is bound to groups: every subject is an account of Stoker."""
    for each in objects(INGRESS):
        for subject in each.get("subjects", ()):
            assert subject["kind"] == "ServiceAccount"
            assert subject["namespace"] == "stoker-system"
