"""Secrets as an API server keeps them, for what reads and writes them by name."""

import base64
from typing import Any

from stoker_runtime.identity import Secret
from stoker_runtime.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from stoker_runtime.kube.objects import ObjectMeta, Seen


class SecretStoreForTests:
    """`fail` is raised by the next calls instead of an answer; `writes` lists what was written, in order."""

    def __init__(self) -> None:
        self.objects: dict[str, Secret] = {}
        self.writes: list[str] = []
        self.reads = 0
        self.fail: ApiError | None = None
        self._version = 0

    def put(self, name: str, data: dict[str, bytes]) -> Secret:
        self._version += 1
        old = self.objects.get(name)
        uid = f"uid-{self._version}" if old is None else old.metadata.uid
        meta = ObjectMeta(name, "stoker-system", uid, str(self._version))
        self.objects[name] = Secret(meta, data)
        return self.objects[name]

    async def get(self, resource: Any, name: str, namespace: str = "") -> Secret:
        self.reads += 1
        if self.fail is not None:
            raise self.fail
        if name not in self.objects:
            raise NotFound(f"get {name}", 404, "NotFound", "not found")
        return self.objects[name]

    async def create(self, resource: Any, body: Any, namespace: str = "") -> Secret:
        name = body["metadata"]["name"]
        if name in self.objects:
            raise AlreadyExists(f"create {name}", 409, "AlreadyExists", "exists")
        return self._write(name, body)

    async def apply(
        self,
        resource: Any,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        manager: str,
        force: bool = False,
        seen: Seen | None = None,
    ) -> Secret:
        meta = self.objects[name].metadata if name in self.objects else None
        if seen is not None and (
            meta is None or (meta.uid, meta.resource_version) != (seen.uid, seen.resource_version)
        ):
            raise Conflict(f"apply {name}", 409, "Conflict", "it changed")
        return self._write(name, body)

    def _write(self, name: str, body: Any) -> Secret:
        assert body["metadata"]["namespace"] == "stoker-system"
        self.writes.append(name)
        return self.put(name, {key: base64.b64decode(value) for key, value in body["data"].items()})
