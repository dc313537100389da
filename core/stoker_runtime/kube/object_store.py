"""The objects of a cache, their indexes, and who wants to hear of changes. Pure: it is told what happened.

Everything happens on one event loop and without a pause in between, so that a reader that does not await sees one
moment.
"""

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Generic, TypeVar

import structlog

from stoker_runtime.kube.objects import KubeObject

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=KubeObject)
V = TypeVar("V", bound=Hashable)
Key = tuple[str, str]
"""Namespace (empty where the kind has none) and name."""

OnChange = Callable[[T | None, T | None], None]
"""Gets the object before and after: (None, new) added, (old, new) changed, (old, None) gone."""


class Index(Generic[V, T]):
    """Objects by what a function says of them: `index.get("node-a")`."""

    def __init__(self, keys_of: Callable[[T], Iterable[V]]) -> None:
        self._keys_of = keys_of
        self._buckets: dict[V, dict[Key, T]] = {}

    def get(self, value: V) -> Collection[T]:
        """A live view: copy it before you await."""
        bucket = self._buckets.get(value)
        return () if bucket is None else bucket.values()

    def values(self) -> Collection[V]:
        """The values that at least one object has."""
        return self._buckets.keys()

    def put(self, key: Key, old: T | None, new: T | None) -> None:
        """Called by the store only."""
        before = frozenset() if old is None else self._of(old)
        after = frozenset() if new is None else self._of(new)
        for value in before - after:
            bucket = self._buckets.get(value)
            if bucket is not None:
                bucket.pop(key, None)
                if not bucket:
                    del self._buckets[value]
        if new is not None:
            for value in after:
                self._buckets.setdefault(value, {})[key] = new

    def _of(self, item: T) -> frozenset[V]:
        try:
            return frozenset(self._keys_of(item))
        except Exception:
            # A function that fails on one odd object must not end the watch of all.
            log.exception("kube_index_failed", name=item.metadata.name)
            return frozenset()


class ObjectStore(Generic[T]):
    """What is known to exist."""

    def __init__(self) -> None:
        self._objects: dict[Key, T] = {}
        self._indexes: list[Index[Hashable, T]] = []
        self._listeners: list[OnChange[T]] = []

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get((namespace, name))

    def items(self) -> Collection[T]:
        """A live view: copy it before you await."""
        return self._objects.values()

    def keys(self) -> Collection[Key]:
        return self._objects.keys()

    def index_by(self, keys_of: Callable[[T], Iterable[V]]) -> Index[V, T]:
        """A new index, filled with what is there. The function must depend on the object alone."""
        index = Index(keys_of)
        for key, item in self._objects.items():
            index.put(key, None, item)
        self._indexes.append(index)  # type: ignore[arg-type]
        return index

    def on_change(self, listener: OnChange[T]) -> Callable[[], None]:
        """Call it for every change from now on, indexes already up to date. Returns what ends that."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def put(self, new: T) -> bool:
        """The newest state of an object; False when it was known already."""
        meta = new.metadata
        key = (meta.namespace, meta.name)
        old = self._objects.get(key)
        if old is not None and old.metadata.uid != meta.uid:
            # Deleted and made again unseen: two objects, not one that changed.
            self._set(key, old, None)
            old = None
        if old is not None and old.metadata.resource_version == meta.resource_version:
            return False
        self._set(key, old, new)
        return True

    def remove(self, namespace: str, name: str, uid: str = "") -> bool:
        """It is gone; False when nothing was known of it. With `uid`: only if it is that one."""
        key = (namespace, name)
        old = self._objects.get(key)
        if old is None or (uid and old.metadata.uid != uid):
            return False
        self._set(key, old, None)
        return True

    def _set(self, key: Key, old: T | None, new: T | None) -> None:
        if new is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = new
        for index in self._indexes:
            index.put(key, old, new)
        for listener in tuple(self._listeners):
            try:
                listener(old, new)
            except Exception:
                # One listener's mistake must not cost the others their news, nor the cache its watch.
                log.exception("kube_listener_failed", namespace=key[0], name=key[1])
