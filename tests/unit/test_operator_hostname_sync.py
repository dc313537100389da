"""The Ingress or the HTTPRoutes of own hostnames: written when they should change, put back, and left alone at rest."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from stoker.model.function import Access, Function, Visibility
from stoker.model.policy import NamespaceRule, default_policy
from stoker.testing.builders import make_function
from stoker_operator.hostname_sync import OBJECT, HostnameSettings, HostnameSync
from stoker_operator.kinds import Object
from stoker_runtime.kube.decoding import Page
from stoker_runtime.kube.errors import KubeError, Unreachable
from stoker_runtime.metrics import PrometheusSink

pytestmark = pytest.mark.unit

POLICY = replace(default_policy(), others=NamespaceRule(hostname_suffixes=("example.com",)))


class Api:
    """Objects with a generation that counts changes of their spec."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.fail: KubeError | None = None
        self._made = 0

    async def list(self, resource: Any, namespace: str, *, label_selector: str) -> Page[Object]:
        assert (namespace, label_selector) == ("stoker", "app.kubernetes.io/name=stoker")
        if self.fail is not None:
            raise self.fail
        return Page(tuple(self._read(name) for name in self.objects), "1", ())

    async def apply(self, resource: Any, name: str, body: dict[str, Any], *_: Any, **__: Any) -> Object:
        self.writes.append(f"apply {name}")
        known = self.objects.get(name)
        if known is None:
            self._made += 1
            known = self.objects[name] = {"uid": f"u{self._made}", "generation": 1, "spec": body["spec"]}
        elif known["spec"] != body["spec"]:
            known["generation"] += 1
            known["spec"] = body["spec"]
        return self._read(name)

    async def delete(self, resource: Any, name: str, *_: Any, **__: Any) -> None:
        self.writes.append(f"delete {name}")
        del self.objects[name]

    def edit(self, name: str) -> None:
        self.objects[name]["spec"] = {"somebody": "else's"}
        self.objects[name]["generation"] += 1

    def _read(self, name: str) -> Object:
        known = self.objects[name]
        meta = {"name": name, "uid": known["uid"], "generation": known["generation"], "resourceVersion": "1"}
        return msgspec.convert({"metadata": meta}, Object)


class World:
    def __init__(self, kind: Any = "Ingress") -> None:
        self.api = Api()
        api: Any = self.api
        settings = HostnameSettings(kind=kind, service="stoker-gateway", parent_gateway="edge/public")
        self.sync = HostnameSync(api, "stoker", settings, PrometheusSink())

    async def wanted(self, *names: str) -> None:
        self.sync.look([public(number, name) for number, name in enumerate(names)], POLICY)
        await self.sync.write()

    def wrote(self) -> list[str]:
        writes, self.api.writes = self.api.writes, []
        return writes


def public(number: int, name: str) -> Function:
    function = make_function(f"f{number}")
    access = Access(visibility=Visibility.PUBLIC, hostnames=(name,))
    return replace(function, spec=replace(function.spec, access=access))


async def test_nothing_is_written_at_rest() -> None:
    world = World()
    await world.wanted("a.example.com")
    assert world.wrote() == [f"apply {OBJECT}"]
    await world.wanted("a.example.com")
    for _ in range(3):
        await world.sync.audit()
    assert world.wrote() == []


async def test_what_somebody_deletes_or_edits_is_put_back() -> None:
    world = World()
    await world.wanted("a.example.com")
    good = world.api.objects[OBJECT]["spec"]
    world.wrote()
    del world.api.objects[OBJECT]
    await world.sync.audit()
    assert world.wrote() == [f"apply {OBJECT}"]
    world.api.edit(OBJECT)
    await world.sync.audit()
    assert world.wrote() == [f"apply {OBJECT}"]
    assert world.api.objects[OBJECT]["spec"] == good
    # One that somebody made in its place is another object, whatever is in it.
    world.api.objects[OBJECT]["uid"] = "another"
    await world.sync.audit()
    await world.sync.audit()
    assert world.wrote() == [f"apply {OBJECT}"]


async def test_only_the_route_that_was_touched_is_written_again() -> None:
    world = World("HTTPRoute")
    await world.wanted(*(f"n{number:02}.example.com" for number in range(20)))
    assert world.wrote() == [f"apply {OBJECT}-0", f"apply {OBJECT}-1"]
    world.api.edit(f"{OBJECT}-1")
    await world.sync.audit()
    assert world.wrote() == [f"apply {OBJECT}-1"]
    await world.wanted("n00.example.com")
    assert world.wrote() == [f"apply {OBJECT}-0", f"delete {OBJECT}-1"]


async def test_what_is_not_wanted_any_more_is_removed_when_somebody_brings_it_back() -> None:
    world = World()
    await world.wanted("a.example.com")
    await world.wanted()
    assert world.wrote() == [f"apply {OBJECT}", f"delete {OBJECT}"]
    world.api.objects[OBJECT] = {"uid": "x", "generation": 1, "spec": {}}
    await world.sync.audit()
    assert world.wrote() == [f"delete {OBJECT}"]


async def test_nothing_is_removed_before_it_is_known_what_is_wanted() -> None:
    world = World()
    world.api.objects[OBJECT] = {"uid": "x", "generation": 1, "spec": {}}
    await world.sync.audit()
    assert world.wrote() == []


async def test_a_look_that_failed_is_made_again() -> None:
    world = World()
    world.api.fail = Unreachable("no answer")
    with pytest.raises(Unreachable):
        await world.wanted("a.example.com")
    world.api.fail = None
    await world.sync.audit()
    assert world.wrote() == [f"apply {OBJECT}"]
    await world.wanted("a.example.com")
    assert world.wrote() == []


async def test_nobody_is_asked_where_hostnames_are_not_wanted() -> None:
    world = World("None")
    world.api.fail = Unreachable("no answer")
    await world.wanted("a.example.com")
    await world.sync.audit()
    assert world.wrote() == []
