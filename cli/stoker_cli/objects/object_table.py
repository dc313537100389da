"""Objects of many files into one set: who owns a name, what survives a bad edit, how generations count, and whose
priority the GpuPolicy allows (in a cluster an admission policy refuses the others).

Pure bookkeeping over object_file: no file system, no time. Files come in the order in which they were named.
"""

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from stoker.model.function import Function, Priority
from stoker.model.policy import Policy, default_policy
from stoker_cli.objects.documents import ObjectError
from stoker_cli.objects.object_file import FileObjects, Key, Loaded

Beyond = Callable[[Function, Policy], str | None]
"""Why a function would cost more than it may, in one sentence; None: it would not."""


class StoreSnapshot(Struct, frozen=True, kw_only=True):
    """All valid objects now."""

    functions: dict[str, Function] = {}
    """By key, `namespace/name`."""
    policy: Policy | None = None
    """The GpuPolicy; None when there is none."""


class ObjectTable:
    """The current objects of all files."""

    def __init__(self, beyond: Beyond = lambda _function, _policy: None) -> None:
        self._beyond = beyond
        self._files: dict[str, dict[Key, Loaded]] = {}
        self._owners: dict[Key, str] = {}
        self._told: set[tuple[Key, str]] = set()
        self._generations: dict[str, Function] = {}
        self._accepted: dict[str, Function] = {}
        self._too_high: dict[str, Function] = {}
        """Those that were refused for their priority, as they were then."""
        self._too_dear: dict[str, Function] = {}
        """The same for what their minReplicas cost."""

    def put(self, file: str, loaded: FileObjects) -> None:
        """A file was read. Its objects that are broken now stay as they were; so do missing ones if part is unread."""
        before = self._files.get(file, {})
        kept = {key: old for key, old in before.items() if key in loaded.broken or loaded.unread}
        self._files[file] = {**kept, **loaded.objects}
        self._told = {(key, name) for key, name in self._told if name != file}

    def drop(self, file: str) -> None:
        """A file is gone, and its objects with it."""
        self._files.pop(file, None)
        self._told = {(key, name) for key, name in self._told if name != file}

    def resolve(self, order: Iterable[str]) -> tuple[StoreSnapshot, list[ObjectError]]:
        """The set of objects, and an error for each newly refused duplicate. `order`: files, first wins.

        Beside an owner that `order` does not name, nothing is a duplicate yet: that file is gone or being replaced.
        """
        there = list(dict.fromkeys(order))
        chosen: dict[Key, Loaded] = {}
        errors: list[ObjectError] = []
        for key, files in self._claims(there).items():
            owner = self._owners.get(key)
            if owner not in files:
                owner = files[0]
            self._owners[key] = owner
            chosen[key] = self._files[owner][key]
            for file in files:
                if file == owner:
                    self._told.discard((key, file))
                elif owner in there and (key, file) not in self._told:
                    self._told.add((key, file))
                    errors.append(_duplicate(key, self._files[file][key], file, owner))
        self._owners = {key: owner for key, owner in self._owners.items() if key in chosen}
        policy = next((one.value for one in chosen.values() if isinstance(one.value, Policy)), None)
        functions: dict[str, Function] = {}
        too_high: dict[str, Function] = {}
        too_dear: dict[str, Function] = {}
        for (_, name), loaded in chosen.items():
            function = loaded.value
            if isinstance(function, Policy):
                continue
            bound = self._bound(function, policy or default_policy())
            if bound is not None:
                too_high[name] = function
                if self._too_high.get(name) != function:
                    errors.append(_above(function, bound, loaded.line, self._owners["GpuFunction", name]))
                if name not in self._accepted:
                    continue
                # As after any bad edit, the last good one stays.
                function = self._accepted[name]
            dear = self._dear(function, policy or default_policy())
            if dear is not None:
                too_dear[name] = function
                if self._too_dear.get(name) != function:
                    file = self._owners["GpuFunction", name]
                    errors.append(
                        ObjectError(file=file, line=loaded.line, path="spec.scaling.minReplicas", message=dear)
                    )
                if name not in self._accepted:
                    continue
                function = self._accepted[name]
            functions[name] = self._numbered(function)
        self._too_high, self._too_dear = too_high, too_dear
        self._accepted = dict(functions)
        return StoreSnapshot(functions=functions, policy=policy), errors

    def _bound(self, function: Function, policy: Policy) -> Priority | None:
        """The bound that the function's priority is above; None: it may have it. One that has been accepted stays so
        when the bound is lowered, and its requests have the bound's priority from then on (Policy.bounded).
        """
        bound, asked = policy.rule(function.namespace).max_priority, function.spec.priority
        before = self._accepted.get(function.key)
        if asked.level <= bound.level or (before is not None and asked.level <= before.spec.priority.level):
            return None
        return bound

    def _dear(self, function: Function, policy: Policy) -> str | None:
        """Why its minReplicas cost more than it may. One that has been accepted stays so when prices or bounds change,
        and no replica beyond the bound is made from then on.
        """
        before = self._accepted.get(function.key)
        if before is not None and _asks(before) == _asks(function):
            return None
        return self._beyond(function, policy)

    def _claims(self, ordered: list[str]) -> dict[Key, list[str]]:
        claims: dict[Key, list[str]] = {}
        for file in (*ordered, *(file for file in self._files if file not in ordered)):
            for key in self._files.get(file, {}):
                claims.setdefault(key, []).append(file)
        return claims

    def _numbered(self, function: Function) -> Function:
        """With its generation: one more than before for each change of its spec, also over a deletion."""
        last = self._generations.get(function.key)
        generation = 1 if last is None else last.generation + (last.spec != function.spec)
        numbered = msgspec.structs.replace(function, generation=generation)
        self._generations[function.key] = numbered
        return numbered


def _asks(function: Function) -> tuple[object, ...]:
    """All of a function that decides what its minReplicas cost, and what they may."""
    spec = function.spec
    return spec.scaling.min_replicas, spec.slo.cost, spec.gpu, function.container_of(function.primary)


def _above(function: Function, bound: Priority, line: int, file: str) -> ObjectError:
    message = (
        f"{function.spec.priority.value} is above {bound.value}, the highest that the GpuPolicy allows in namespace "
        f"{function.namespace} (spec.namespaces[].maxPriority): lower it, or have the bound raised"
    )
    return ObjectError(file=file, line=line, path="spec.priority", message=message)


def _duplicate(key: Key, loser: Loaded, file: str, owner: str) -> ObjectError:
    message = f"{key[1]!r} stands in {owner} already; that one stays"
    return ObjectError(file=file, line=loser.line, path="metadata.name", message=message)
