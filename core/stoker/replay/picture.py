"""A picture of what a policy or the predictions have learnt so far, as plain data, and the same object made again.

The log begins anew in each of its files, and every file has to replay on its own: it begins with pictures. A picture
holds the objects of a graph once each, so that what was shared stays shared. It knows no policy: whatever state one
keeps in numbers, texts, enums, containers and classes of this package can be pictured. Reading makes objects of this
package only and runs no constructor but those of values; what is wrong raises BadPicture.
"""

import sys
from collections import deque
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from types import GenericAlias
from typing import Any

from msgspec import Struct

from stoker.errors import StokerError

_PACKAGE = "stoker."
_ATOMS = (str, int, float, bool, type(None))
_SEQUENCES: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
_DEPTH = 200
"""Objects inside of objects: policies nest a dozen deep."""


class BadPicture(StokerError):  # noqa: N818  the name states the fact
    """The data shows no objects of this package. The text says why."""


class Node(Struct, frozen=True, array_like=True):
    """One object. A value in it is an atom, or a list of one number: the place of another node."""

    kind: str
    """A container, or the `module:Class` of an object or enum member."""
    values: list[Any]
    """Items; of a dict keys and values in turn; of an object its attributes likewise; of an enum member its value."""


Picture = list[Node]
"""The first node is the object itself."""


def picture(root: object) -> Picture:
    """What `root` is now. BadPicture for what cannot be pictured: a function, a file, a class of elsewhere."""
    return _Painter().paint(root)


def restored(nodes: Picture) -> Any:
    """An object that is as the pictured one was. BadPicture for what is no picture of one."""
    try:
        return _Restorer(nodes).node(0)
    except (IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadPicture(f"the state cannot be read back ({type(error).__name__}: {error})") from error


class _Painter:
    def __init__(self) -> None:
        self._nodes: Picture = []
        self._places: dict[int, int] = {}
        self._kept: list[object] = []
        """What was pictured: an id is only unique among objects that live."""

    def paint(self, root: object) -> Picture:
        self._value(root)
        return self._nodes

    def _value(self, value: object) -> Any:
        if type(value) in _ATOMS:
            return value
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self._nodes)
            self._kept.append(value)
            self._nodes.append(Node("", []))
            self._nodes[place] = self._node(value)
        return [place]

    def _node(self, value: object) -> Node:
        kind = type(value)
        if kind is dict:
            assert isinstance(value, dict)
            return Node("dict", [self._value(part) for item in value.items() for part in item])
        if kind in _SEQUENCES:
            assert isinstance(value, (list, tuple, set, frozenset))
            return Node(_SEQUENCES[kind], [self._value(item) for item in value])
        if kind is deque:
            assert isinstance(value, deque)
            return Node("deque", [value.maxlen, *(self._value(item) for item in value)])
        name = f"{kind.__module__}:{kind.__qualname__}"
        if not name.startswith(_PACKAGE) or isinstance(value, Callable):  # type: ignore[arg-type]
            raise BadPicture(f"a {kind.__name__} is not part of a state that can be written down")
        if isinstance(value, Enum):
            return Node(name, [value.value])
        return Node(name, [self._value(part) for item in _attributes(value) for part in item])


class _Restorer:
    def __init__(self, nodes: Picture) -> None:
        self._nodes = nodes
        self._made: dict[int, Any] = {}
        self._depth = 0

    def _value(self, value: Any) -> Any:
        if type(value) is not list:
            return value
        (place,) = value
        return self.node(place)

    def node(self, place: int) -> Any:
        if place in self._made:
            return self._made[place]
        self._depth += 1
        if self._depth > _DEPTH or place < 0:
            raise ValueError(f"node {place} contains itself, or is none")
        made = self._make(place, self._nodes[place])
        self._depth -= 1
        return made

    def _make(self, place: int, node: Node) -> Any:
        values, made = node.values, self._made
        if node.kind == "dict":
            filled: dict[Any, Any] = {}
            made[place] = filled
            for key, value in zip(values[::2], values[1::2], strict=True):
                filled[self._value(key)] = self._value(value)
            return filled
        if node.kind == "list":
            items: list[Any] = []
            made[place] = items
            items.extend(map(self._value, values))
            return items
        if node.kind == "deque":
            queue = made[place] = deque[Any](maxlen=values[0])
            queue.extend(map(self._value, values[1:]))
            return queue
        if node.kind in ("tuple", "set", "frozenset"):
            make = {"tuple": tuple, "set": set, "frozenset": frozenset}[node.kind]
            made[place] = make([self._value(value) for value in values])
            return made[place]
        return self._object(place, _class_of(node.kind), values)

    def _object(self, place: int, kind: type, values: list[Any]) -> Any:
        made: Any
        if issubclass(kind, Enum):
            made = self._made[place] = kind(values[0])
            return made
        attributes = zip(values[::2], values[1::2], strict=True)
        if issubclass(kind, Struct):
            made = self._made[place] = kind(**{name: self._value(value) for name, value in attributes})
            return made
        made = self._made[place] = object.__new__(kind)
        for name, value in attributes:
            object.__setattr__(made, name, self._value(value))
        return made


def _attributes(value: object) -> list[tuple[str, object]]:
    kind = type(value)
    if issubclass(kind, Struct):
        return [(name, getattr(value, name)) for name in kind.__struct_fields__]
    names = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ()) if name != "__weakref__"]
    found = [(name, getattr(value, name)) for name in names if hasattr(value, name)]
    # An object made as FlowMemory[int]() remembers that; it says nothing of its state.
    held = getattr(value, "__dict__", {}).items()
    return [*found, *((name, held_value) for name, held_value in held if name != "__orig_class__")]


def _class_of(name: str) -> type:
    module, _, path = name.partition(":")
    if not module.startswith(_PACKAGE):
        raise BadPicture(f"{name!r} is no class of this package")
    try:
        found: Any = sys.modules.get(module) or import_module(module)
    except ImportError as error:
        raise BadPicture(f"there is no module {module!r} in this version of Stoker") from error
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or isinstance(found, GenericAlias) or found.__module__ != module:
        raise BadPicture(f"there is no class {name!r} in this version of Stoker")
    return found
