"""The client's calls against a real API server: paging, apply, preconditions, tokens, access."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from api_server import SERVICE_ACCOUNTS
from msgspec import Struct

from cluster.api_only import ApiServer
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig
from stoker_runtime.kube.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
    Unreachable,
)
from stoker_runtime.kube.objects import ObjectMeta, Resource, Seen
from stoker_runtime.kube.transport import Call, Limits
from stoker_runtime.mtls import make_authority

pytest_plugins = ("api_server",)
# The first test starts the server, which takes seconds on a busy machine.
pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]


class ConfigMap(Struct, frozen=True):
    metadata: ObjectMeta
    data: dict[str, str] | None = None


class Condition(Struct, frozen=True):
    type: str
    status: str


class NodeStatus(Struct, frozen=True):
    conditions: tuple[Condition, ...] = ()


class Node(Struct, frozen=True):
    metadata: ObjectMeta
    status: NodeStatus = NodeStatus()


class Plain(Struct, frozen=True):
    metadata: ObjectMeta


class TokenStatus(Struct, frozen=True):
    token: str = ""
    authenticated: bool = False
    allowed: bool = False


class Answered(Struct, frozen=True):
    status: TokenStatus


class Version(Struct, frozen=True, rename="camel"):
    git_version: str


CONFIG_MAPS = Resource("", "v1", "configmaps", namespaced=True, type=ConfigMap)
NODES = Resource("", "v1", "nodes", namespaced=False, type=Node)
PODS = Resource("", "v1", "pods", namespaced=True, type=Plain)
SECRETS = Resource("", "v1", "secrets", namespaced=True, type=Plain)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", namespaced=True, type=Plain)
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", namespaced=True, type=Plain)


def config_map(name: str, data: dict[str, str] | None = None, **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}, "data": data or {}}


async def test_more_objects_than_a_page_come_whole_and_of_one_moment(kube: KubeClient, namespace: str) -> None:
    made = [
        kube.create(CONFIG_MAPS, config_map(f"c{number:04}", labels={"odd": str(number % 2)}), namespace)
        for number in range(1100)
    ]
    await asyncio.gather(*made)
    pages = [page async for page in kube.pages(CONFIG_MAPS, namespace)]
    assert [len(page.items) for page in pages] == [500, 500, 100]
    assert len({page.resource_version for page in pages}) == 1
    odd = await kube.list(CONFIG_MAPS, namespace, label_selector="odd=1", limit=100)
    assert [item.metadata.name for item in odd.items] == [f"c{number:04}" for number in range(1, 1100, 2)]
    one = await kube.list(CONFIG_MAPS, namespace, field_selector="metadata.name=c0007")
    assert len(one.items) == 1
    assert (await kube.list(ROLES, namespace)).items == ()


async def test_each_refusal_has_its_type(kube: KubeClient, namespace: str) -> None:
    await kube.create(CONFIG_MAPS, config_map("one"), namespace, dry_run=True)
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAPS, "one", namespace)
    await kube.create(CONFIG_MAPS, config_map("one"), namespace)
    with pytest.raises(AlreadyExists):
        await kube.create(CONFIG_MAPS, config_map("one"), namespace)
    with pytest.raises(Invalid) as caught:
        await kube.create(CONFIG_MAPS, config_map("Not_A_Name"), namespace)
    assert caught.value.causes[0].field == "metadata.name"
    with pytest.raises(BadRequest, match="unknown field"):
        await kube.create(CONFIG_MAPS, {**config_map("two"), "dta": {}}, namespace)
    with pytest.raises(NotFound):
        await kube.list(Resource("nobody.dev", "v1", "nothings", namespaced=True, type=Plain))


async def test_apply_creates_changes_removes_and_repeats_without_a_write(kube: KubeClient, namespace: str) -> None:
    first = await kube.apply(
        CONFIG_MAPS, "one", config_map("one", {"a": "1", "b": "2"}), namespace, manager="stoker-operator"
    )
    again = await kube.apply(
        CONFIG_MAPS, "one", config_map("one", {"a": "1", "b": "2"}), namespace, manager="stoker-operator"
    )
    assert again.metadata.resource_version == first.metadata.resource_version
    await kube.patch(CONFIG_MAPS, "one", {"data": {"theirs": "x"}}, namespace)
    changed = await kube.apply(CONFIG_MAPS, "one", config_map("one", {"a": "3"}), namespace, manager="stoker-operator")
    assert changed.data == {"a": "3", "theirs": "x"}


async def test_apply_conflicts_with_another_manager_until_it_is_forced(kube: KubeClient, namespace: str) -> None:
    await kube.apply(CONFIG_MAPS, "one", config_map("one", {"a": "1"}), namespace, manager="first")
    with pytest.raises(Conflict) as caught:
        await kube.apply(CONFIG_MAPS, "one", config_map("one", {"a": "2"}), namespace, manager="second")
    assert caught.value.causes[0].field == ".data.a"
    taken = await kube.apply(CONFIG_MAPS, "one", config_map("one", {"a": "2"}), namespace, manager="second", force=True)
    assert taken.data == {"a": "2"}


async def test_apply_of_a_status_needs_the_object_and_leaves_the_rest(kube: KubeClient, namespace: str) -> None:
    def node(name: str, **more: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, **more}

    status = {"conditions": [{"type": "StokerReady", "status": "True"}]}
    with pytest.raises(NotFound):
        await kube.apply(NODES, namespace, node(namespace, status=status), manager="m", subresource="status")
    await kube.create(NODES, node(namespace))
    applied = await kube.apply(NODES, namespace, node(namespace, status=status), manager="m", subresource="status")
    assert Condition("StokerReady", "True") in applied.status.conditions
    await kube.delete(NODES, namespace)


async def test_an_apply_that_was_meant_for_an_object_that_is_gone_does_not_make_it_anew(
    kube: KubeClient, namespace: str
) -> None:
    old = await kube.create(CONFIG_MAPS, config_map("one"), namespace)
    await kube.delete(CONFIG_MAPS, "one", namespace)
    body = config_map("one", {"a": "1"})
    for seen in (Seen.of(old), Seen.of(old, unchanged=True)):
        with pytest.raises(Conflict):
            await kube.apply(CONFIG_MAPS, "one", body, namespace, manager="m", seen=seen)
    # Why a precondition always carries the uid: by a resourceVersion alone the server creates the object.
    bare = config_map("one", resourceVersion=old.metadata.resource_version)
    path = CONFIG_MAPS.path(namespace, "one")
    await kube.transport.call(
        Call("PATCH", path, {"fieldManager": "m"}, str(bare).replace("'", '"').encode(), "application/apply-patch+yaml")
    )
    made = await kube.get(CONFIG_MAPS, "one", namespace)
    assert made.metadata.uid != old.metadata.uid
    for seen in (Seen.of(old), Seen(made.metadata.uid, old.metadata.resource_version)):
        with pytest.raises(Conflict):
            await kube.apply(CONFIG_MAPS, "one", body, namespace, manager="m", seen=seen)
    applied = await kube.apply(
        CONFIG_MAPS, "one", body, namespace, manager="m", seen=Seen.of(made, unchanged=True), force=True
    )
    assert applied.data == {"a": "1"}


async def test_a_deletion_holds_for_the_object_and_the_version_that_were_seen(kube: KubeClient, namespace: str) -> None:
    old = await kube.create(CONFIG_MAPS, config_map("one"), namespace)
    await kube.patch(CONFIG_MAPS, "one", {"data": {"a": "1"}}, namespace)
    with pytest.raises(Conflict):
        await kube.delete(CONFIG_MAPS, "one", namespace, seen=Seen("11111111-2222-3333-4444-555555555555"))
    with pytest.raises(Conflict):
        await kube.delete(CONFIG_MAPS, "one", namespace, seen=Seen.of(old, unchanged=True))
    await kube.delete(CONFIG_MAPS, "one", namespace, seen=Seen.of(old), propagation="Background")
    with pytest.raises(NotFound):
        await kube.delete(CONFIG_MAPS, "one", namespace, seen=Seen.of(old))


async def test_a_pod_on_a_node_is_deleted_in_time_and_keeps_its_name_until_then(
    kube: KubeClient, namespace: str
) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"nodeName": "nowhere", "containers": [{"name": "c", "image": "x"}]},
    }
    made = await kube.create(PODS, pod, namespace)
    await kube.delete(PODS, "p", namespace, seen=Seen.of(made), grace_s=30)
    assert (await kube.get(PODS, "p", namespace)).metadata.deletion_timestamp
    with pytest.raises(AlreadyExists):
        await kube.create(PODS, pod, namespace)
    await kube.delete(PODS, "p", namespace, seen=Seen.of(made), grace_s=0)
    with pytest.raises(NotFound):
        await kube.get(PODS, "p", namespace)


async def test_patches_hold_for_the_version_that_they_name(kube: KubeClient, namespace: str) -> None:
    old = await kube.create(CONFIG_MAPS, config_map("one", {"a": "1"}), namespace)
    version = {"metadata": {"resourceVersion": old.metadata.resource_version}}
    new = await kube.patch(CONFIG_MAPS, "one", {**version, "data": {"a": None, "b": "2"}}, namespace)
    assert new.data == {"b": "2"}
    with pytest.raises(Conflict):
        await kube.patch(CONFIG_MAPS, "one", {**version, "data": {"a": "3"}}, namespace)
    steps = [{"op": "test", "path": "/data/b", "value": "2"}, {"op": "replace", "path": "/data/b", "value": "4"}]
    assert (await kube.patch(CONFIG_MAPS, "one", steps, namespace, kind="json")).data == {"b": "4"}
    with pytest.raises(Invalid):
        await kube.patch(CONFIG_MAPS, "one", steps, namespace, kind="json")
    with pytest.raises(NotFound):
        await kube.patch(CONFIG_MAPS, "two", {"data": {}}, namespace)


async def account(kube: KubeClient, namespace: str, name: str) -> None:
    await kube.create(
        SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}, namespace
    )


async def token_of(kube: KubeClient, namespace: str, name: str, secret: str = "") -> str:
    """A real token; with `secret` one that is valid as long as that Secret is there."""
    spec: dict[str, Any] = {"expirationSeconds": 600}
    if secret:
        made = await kube.create(
            SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}}, namespace
        )
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Secret", "name": secret, "uid": made.metadata.uid}
    path = SERVICE_ACCOUNTS.path(namespace, name, "token")
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return (await kube.request("POST", path, Answered, body=body)).status.token


async def allow_config_maps(kube: KubeClient, namespace: str, name: str) -> None:
    group = ROLES.group
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create"]}]
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}
    await kube.create(ROLES, role, namespace)
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    await kube.create(BINDINGS, binding, namespace)


async def test_what_rbac_does_not_allow_is_forbidden_and_reviews_say_so_beforehand(
    kube: KubeClient, kube_config: KubeConfig, namespace: str
) -> None:
    await account(kube, namespace, "agent")
    token = await token_of(kube, namespace, "agent")
    config = KubeConfig(server=kube_config.server, authority=kube_config.authority, token=token)
    async with KubeClient(config) as weak:
        with pytest.raises(Forbidden, match="cannot list resource"):
            await weak.list(CONFIG_MAPS, namespace)
    reviewed = await kube.request(
        "POST",
        "/apis/authentication.k8s.io/v1/tokenreviews",
        Answered,
        body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}},
    )
    assert reviewed.status.authenticated
    spec = {
        "user": f"system:serviceaccount:{namespace}:agent",
        "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": namespace},
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert not (await kube.request("POST", path, Answered, body=review)).status.allowed
    await allow_config_maps(kube, namespace, "agent")

    async def allowed() -> bool:
        return (await kube.request("POST", path, Answered, body=review)).status.allowed

    async with asyncio.timeout(10):
        while not await allowed():
            await asyncio.sleep(0.05)
    version = await kube.request("GET", "/version", Version)
    assert version.git_version.startswith("v1.")


async def test_a_token_file_that_is_rotated_is_followed_and_an_invalid_token_is_replaced_after_401(
    kube: KubeClient, kube_config: KubeConfig, namespace: str, tmp_path: Path
) -> None:
    await account(kube, namespace, "agent")
    await allow_config_maps(kube, namespace, "agent")
    invalid = await token_of(kube, namespace, "agent", secret="bound-a")
    valid = await token_of(kube, namespace, "agent", secret="bound-b")
    await kube.delete(SECRETS, "bound-a", namespace)
    file = tmp_path / "token"
    file.write_text(invalid)
    stamp = file.stat()
    config = KubeConfig(server=kube_config.server, authority=kube_config.authority, token_file=file)
    async with KubeClient(config, limits=Limits(tries=1)) as weak:
        with pytest.raises(Unauthorized):
            await weak.list(CONFIG_MAPS, namespace)
        # Renewed so that its stat looks the same, as on a file system with coarse stamps: only the 401 tells.
        assert len(valid) == len(invalid)
        with file.open("r+") as opened:
            opened.write(valid)
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

        async def make() -> None:
            await weak.create(CONFIG_MAPS, config_map("one"), namespace)

        async with asyncio.timeout(10):  # RBAC is eventually consistent
            while True:
                try:
                    await make()
                    break
                except Forbidden:
                    await asyncio.sleep(0.05)
        # And renewed as the kubelet does, by a rename.
        other = tmp_path / "new"
        other.write_text("not a token")
        other.rename(file)
        with pytest.raises(Unauthorized):
            await weak.get(CONFIG_MAPS, "one", namespace)
        other.write_text(await token_of(kube, namespace, "agent"))
        other.rename(file)
        assert (await weak.get(CONFIG_MAPS, "one", namespace)).metadata.name == "one"


async def test_a_server_that_the_authority_did_not_sign_gets_no_token(api_server: ApiServer) -> None:
    config = KubeConfig(server=api_server.url, authority=make_authority().root, token="secret")
    async with KubeClient(config, limits=Limits(tries=1)) as kube:
        with pytest.raises(Unreachable, match="not one to trust") as caught:
            await kube.request("GET", "/version", Version)
        assert caught.value.unsent
