"""The functions as applied, and the objects that they came in: news told once, late news not at all.

Fed by whoever watches GpuFunctions (kopf). Knows no connection and decides nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from stoker.model.function import Function
from stoker_operator.kinds import Dynamic, Kept, Object
from stoker_runtime.applied_functions import AppliedFunctions
from stoker_runtime.kube.objects import KubeObject

REMEMBERED = 10_000
"""Objects that went and are remembered."""


class FunctionStore:
    """Everything by key, `namespace/name`. `changed` is called with the key after every change."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self.objects: dict[str, Kept] = {}
        """All that exist, as read."""
        self._changed = changed
        self._applied = AppliedFunctions()
        self._gone: OrderedDict[str, None] = OrderedDict()
        """Uids of the last that went: a list that was under way meanwhile must not bring one back."""

    @property
    def functions(self) -> dict[str, Function]:
        """Those that can be served, as of their last good generation, oldest object first. To be read only."""
        return self._applied.functions

    @property
    def invalid(self) -> dict[str, str]:
        """Why the newest generation cannot be served, in one sentence. To be read only."""
        return self._applied.invalid

    def put(self, item: Dynamic | Kept) -> None:
        """The newest state of an object. Seeing the same state again changes nothing."""
        meta = item.metadata
        key = meta.key
        if meta.uid in self._gone:
            return
        before = self.objects.get(key)
        if before is not None and _version(item) < _version(before):
            return  # late news: of a state that is over, perhaps of an object that was deleted and made again since
        if before is not None and before.metadata.uid != meta.uid:
            # Deleted and made again: nothing of the old one may serve the new one.
            self.remove(meta.namespace, meta.name)
        if meta.deletion_timestamp is not None:
            self._bury(meta.uid)
            self.remove(meta.namespace, meta.name)
            return
        self.objects[key] = item if isinstance(item, Kept) else Kept.of(item)
        if self._applied.put(item, labels=meta.labels, annotations=meta.annotations):
            self._changed(key)

    def remove(self, namespace: str, name: str) -> None:
        """It is gone, or going."""
        key = f"{namespace}/{name}"
        known = self.objects.pop(key, None)
        self._applied.remove(key)
        if known is not None:
            self._bury(known.metadata.uid)
            self._changed(key)

    def remove_one(self, item: Kept) -> None:
        """Exactly that object is gone; one of its name that was made since is not."""
        self._bury(item.metadata.uid)
        known = self.objects.get(item.metadata.key)
        if known is not None and known.metadata.uid == item.metadata.uid:
            self.remove(item.metadata.namespace, item.metadata.name)

    def _bury(self, uid: str) -> None:
        self._gone[uid] = None
        while len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)

    def take_list(self, items: Iterable[Kept]) -> None:
        """Everything, when nothing is known yet."""
        for item in sorted(items, key=lambda item: item.metadata.creation_timestamp):
            self.put(item)

    def compare(self, items: Collection[Object], version: str) -> list[Object]:
        """What is there as of one moment: what is not in it is gone, unless it was made later. Those of which a
        newer state is there than is known here.
        """
        listed = {item.metadata.key for item in items}
        for key in [key for key, item in self.objects.items() if key not in listed and _version(item) <= int(version)]:
            namespace, _, name = key.partition("/")
            self.remove(namespace, name)
        return [item for item in items if self._is_news(item)]

    def _is_news(self, item: Object) -> bool:
        meta = item.metadata
        known = self.objects.get(meta.key)
        return meta.uid not in self._gone and (known is None or _version(known) < _version(item))


def _version(item: KubeObject) -> int:
    """Versions of one kind are comparable as numbers (stoker_runtime.kube.watch)."""
    text = item.metadata.resource_version
    return int(text) if text.isdecimal() else 0
