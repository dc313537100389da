"""Typed calls to the Kubernetes API: get, list, create, apply, patch, delete, and what stands beside objects.

Every answer is decoded into the struct that the caller's Resource names. Knows no cache and no kind.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random
from typing import Any, Literal, Self, TypeVar

import msgspec
from msgspec import Struct

from stoker_runtime.kube.config import KubeConfig
from stoker_runtime.kube.decoding import Broken, Page, decode, decode_page
from stoker_runtime.kube.errors import Conflict, Gone, Invalid
from stoker_runtime.kube.objects import Resource, Seen
from stoker_runtime.kube.transport import Call, Limits, Method, Parameters, Transport

T = TypeVar("T")

Body = Mapping[str, Any] | Struct
"""A manifest. It carries its own apiVersion and kind."""

PAGE = 500
"""Objects asked for at once: about 2 MB of pods, decoded in some 10 ms of the loop."""
_LIST_TIMEOUT_S = 60.0
_RESTARTS = 3
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
}
_APPLY = "application/apply-patch+yaml"  # JSON is YAML, and every server that applies takes this type


class KubeClient:
    """One API server, as one account. `async with KubeClient(config, user_agent="stoker-operator") as kube:`

    All calls raise ApiError (the server refused; NotFound, Conflict, ... are its kinds), Unreachable (no whole
    answer; a write may have been done) and BadKubeConfig.
    """

    def __init__(
        self,
        config: KubeConfig,
        *,
        user_agent: str = "stoker",
        rng: Random | None = None,
        limits: Limits | None = None,
        transport: Transport | None = None,
    ) -> None:
        """`transport`: one of the caller's making, closed with this client; the three before it are not used then."""
        self.transport = transport or Transport(config, user_agent=user_agent, rng=rng, limits=limits)

    @property
    def namespace(self) -> str:
        """The pod's own namespace, or the context's."""
        return self.transport.config.namespace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.transport.close()

    async def get(self, resource: Resource[T], name: str, namespace: str = "") -> T:
        """Raises NotFound."""
        path = resource.path(namespace, _given(name))
        return decode(await self.transport.call(Call("GET", path)), resource.type, path)

    async def pages(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE,
    ) -> AsyncIterator[Page[T]]:
        """All objects as of now, page by page, so that never more than one page is in memory undecoded.

        Raises Gone when the pages took longer than the server keeps their moment: what came is then no whole list.
        """
        path = resource.path(namespace)
        parameters = {"limit": str(limit), **_selectors(label_selector, field_selector)}
        while True:
            data = await self.transport.call(Call("GET", path, parameters, timeout_s=_LIST_TIMEOUT_S))
            page = decode_page(data, resource.type, path)
            del data  # the consumer may be slow; the bytes are the largest thing here
            yield page
            if not page.rest:
                return
            parameters = {**parameters, "continue": page.rest}

    async def list(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE,
    ) -> Page[T]:
        """All objects as of one moment; an expired list is begun anew. A Cache is cheaper for what is read often."""
        for restarts in range(_RESTARTS + 1):
            items: tuple[T, ...] = ()
            broken: tuple[Broken, ...] = ()
            version = ""
            try:
                async for page in self.pages(
                    resource, namespace, label_selector=label_selector, field_selector=field_selector, limit=limit
                ):
                    items += page.items
                    broken += page.broken
                    version = page.resource_version
            except Gone:
                if restarts == _RESTARTS:
                    raise
                continue
            return Page(items, version, broken)
        raise AssertionError("unreachable: the last round returns or raises")

    async def create(self, resource: Resource[T], body: Body, namespace: str = "", *, dry_run: bool = False) -> T:
        """POST. Raises AlreadyExists when the name is taken, also by an object that is being deleted."""
        if resource.namespaced and not namespace:
            raise ValueError(f"create {resource.plural}: the namespace is missing")
        path = resource.path(namespace)
        data = await self.transport.call(Call("POST", path, _writing(dry_run), msgspec.json.encode(body)))
        return decode(data, resource.type, path)

    async def apply(
        self,
        resource: Resource[T],
        name: str,
        body: Body,
        namespace: str = "",
        *,
        manager: str,
        force: bool = False,
        subresource: Literal["", "status"] = "",
        seen: Seen | None = None,
        dry_run: bool = False,
    ) -> T:
        """Server-side apply: what `manager` applied before and leaves out now is removed; others' fields stay.

        Creates a missing object (with a subresource: NotFound), unless `seen` names one: then Conflict. Raises
        Conflict too when another manager owns a field with another value, unless `force` takes it.
        """
        content: Any = body
        if seen is not None:
            content = msgspec.to_builtins(body)
            expected = {"uid": seen.uid}
            if seen.resource_version:
                expected["resourceVersion"] = seen.resource_version
            content["metadata"] = {**content.get("metadata", {}), **expected}
        path = resource.path(namespace, _given(name), subresource)
        parameters = {**_writing(dry_run), "fieldManager": manager, "force": "true" if force else "false"}
        call = Call("PATCH", path, parameters, msgspec.json.encode(content), _APPLY)
        try:
            data = await self.transport.call(call)
        except Invalid as exc:
            # So a server says that the name now belongs to an object with another uid.
            if seen is not None and any(cause.field == "metadata.uid" for cause in exc.causes):
                raise Conflict(call.what, exc.status, exc.reason, exc.message, exc.causes) from exc
            raise
        return decode(data, resource.type, path)

    async def patch(
        self,
        resource: Resource[T],
        name: str,
        body: Body | Sequence[Mapping[str, Any]],
        namespace: str = "",
        *,
        kind: Literal["merge", "json"] = "merge",
        subresource: str = "",
    ) -> T:
        """Change fields of an object that exists. A `metadata.resourceVersion` in a merge patch is a precondition.

        For what apply cannot say: a counter, a list element of another's, a label on a foreign object.
        """
        path = resource.path(namespace, _given(name), subresource)
        call = Call("PATCH", path, _writing(dry_run=False), msgspec.json.encode(body), _PATCHES[kind])
        return decode(await self.transport.call(call), resource.type, path)

    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str = "",
        *,
        seen: Seen | None = None,
        grace_s: int | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> None:
        """Raises NotFound when it is gone already, Conflict when it is not the one that was `seen`.

        A connection that breaks may hide a deletion that was done: then NotFound or Conflict tells of the next one.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if seen is not None:
            options["preconditions"] = {"uid": seen.uid}
            if seen.resource_version:
                options["preconditions"]["resourceVersion"] = seen.resource_version
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if propagation is not None:
            options["propagationPolicy"] = propagation
        path = resource.path(namespace, _given(name))
        await self.transport.call(Call("DELETE", path, None, msgspec.json.encode(options)))

    async def request(
        self,
        method: Method,
        path: str,
        answer: type[T],
        *,
        body: Body | None = None,
        parameters: Parameters | None = None,
        timeout_s: float | None = None,
    ) -> T:
        """Any path, for what is no object: token reviews, access reviews, `serviceaccounts/NAME/token`, `/version`."""
        encoded = None if body is None else msgspec.json.encode(body)
        data = await self.transport.call(Call(method, path, parameters, encoded, timeout_s=timeout_s))
        return decode(data, answer, path)


def _given(name: str) -> str:
    """An empty name would make the path that of the whole collection."""
    if not name:
        raise ValueError("the name of the object is missing")
    return name


def _selectors(labels: str, fields: str) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in chosen.items() if value}


def _writing(dry_run: bool) -> dict[str, str]:
    # Strict: a misspelt field of ours is an error and not silently dropped.
    strict = {"fieldValidation": "Strict"}
    return {**strict, "dryRun": "All"} if dry_run else strict
