"""YAML files into plain documents (JSON types) that know the line of each field. Knows nothing of what they mean.

Built on the event stream of libyaml, not on its composer: bounds on depth, on nodes and on what aliases expand to hold
while reading, so a hostile file costs no more than a large one. Scalars are read as Kubernetes reads them (YAML 1.1 by
sigs.k8s.io/yaml: `yes` is true, 010 is 8), except that dates stay text, as they do there.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from msgspec import Struct

from stoker_cli.objects.scalars import NotJson, resolve

MAX_FILE_BYTES = 1024 * 1024
MAX_DOCUMENTS = 100
MAX_DEPTH = 64
MAX_WEIGHT = 65_536
"""Bound on nodes plus characters / 64 in a file, with every alias counted as what it stands for."""

Path = tuple[str | int, ...]

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAX_MESSAGE = 400


class ObjectError(Struct, frozen=True, kw_only=True):
    """What is wrong with a file or an object in it; its text is one line."""

    file: str
    line: int
    """1 is the first; 0 where the file as a whole is meant."""
    path: str
    """As in `spec.slo.latency`; empty where the document as a whole is meant."""
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        text = " ".join(f"{where}: {self.path + ': ' if self.path else ''}{self.message}".split())
        text = "".join(char if char.isprintable() else "?" for char in text)
        return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 3] + "..."


class Document(Struct, frozen=True, kw_only=True):
    """One YAML document. Parts of `value` that came by an alias are shared: read it, never change it."""

    file: str
    line: int
    value: Any
    lines: dict[Path, int]

    def error(self, path: Path, message: str) -> ObjectError:
        """An error at `path`; its line is that of the nearest parent that stands in the file."""
        return ObjectError(file=self.file, line=self.line_of(path), path=format_path(path), message=message)

    def line_of(self, path: Path) -> int:
        """The line of a field, or of the nearest parent that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


def format_path(path: Path) -> str:
    """`("spec", "env", 0, "name")` -> `spec.env[0].name`; long keys are cut."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:64]}"
    return text.removeprefix(".")


def read_documents(data: bytes, file: str) -> tuple[list[Document], list[ObjectError]]:
    """All readable documents of a file, and one error for each other one. Never raises for what is in the file.

    After an error of syntax or over a bound the rest of the file is not read: its error is the last one.
    """
    if len(data) > MAX_FILE_BYTES:
        return [], [_whole(file, 0, f"the file has {len(data)} bytes; at most {MAX_FILE_BYTES} are read")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [_whole(file, line, "the file is not UTF-8 text; save it as UTF-8")]
    if found := _FORBIDDEN.search(text):
        line = text.count("\n", 0, found.start()) + 1
        return [], [
            _whole(file, line, f"the control character U+{ord(found[0]):04X} is not allowed in YAML; remove it")
        ]
    return _Reader(text, file).read()


def _whole(file: str, line: int, message: str) -> ObjectError:
    return ObjectError(file=file, line=line, path="", message=message)


class _BadDocument(Exception):  # noqa: N818  caught in this module only
    """One document is wrong, the next may be read."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.line = line
        self.message = message


class _BadFile(_BadDocument):
    """The rest of the file is not read."""


class _Frame:
    """A mapping or sequence that is open."""

    __slots__ = ("anchor", "key", "merged", "path", "value", "weight_before")

    def __init__(self, value: dict[str, Any] | list[Any], path: Path, anchor: str | None, weight_before: int) -> None:
        self.value = value
        self.path = path
        self.anchor = anchor
        self.weight_before = weight_before
        self.key: str | None = None
        self.merged: list[Any] = []


class _Reader:
    """One pass over one file."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._weight = 0
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._lines: dict[Path, int] = {}
        self._root: Any = None

    def read(self) -> tuple[list[Document], list[ObjectError]]:
        documents: list[Document] = []
        errors: list[ObjectError] = []
        count = 0
        events = yaml.parse(self._text, Loader=yaml.CSafeLoader)
        try:
            for event in events:
                if not isinstance(event, yaml.DocumentStartEvent):
                    continue
                count += 1
                if count > MAX_DOCUMENTS:
                    raise _BadFile((), _line(event), f"more than {MAX_DOCUMENTS} documents in one file")  # noqa: TRY301
                try:
                    document = self._document(events)
                except _BadFile:
                    raise
                except _BadDocument as bad:
                    errors.append(self._error(bad))
                    _skip_document(events)
                else:
                    documents += [document] if document else []
        except _BadFile as bad:
            errors.append(self._error(bad))
        except yaml.YAMLError as error:
            errors.append(self._syntax(error))
        if not documents and not errors:
            errors.append(_whole(self._file, 0, "there is no object in the file; delete it to delete its functions"))
        return documents, errors

    def _document(self, events: Iterator[yaml.Event]) -> Document | None:
        """Read one document up to its end; None for an empty one."""
        self._stack, self._anchors, self._lines = [], {}, {}
        first = next(events)
        line = _line(first)
        if isinstance(first, yaml.ScalarEvent) and first.implicit[0] and not first.value:
            _skip_document(events)
            return None
        event = first
        while not isinstance(event, yaml.DocumentEndEvent):
            self._take(event)
            event = next(events)
        return Document(file=self._file, line=line, value=self._root, lines=self._lines)

    def _take(self, event: yaml.Event) -> None:
        frame = self._stack[-1] if self._stack else None
        if isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif frame is not None and isinstance(frame.value, dict) and frame.key is None:
            frame.key = self._key(event, frame)
        elif isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            self._charge(1 + len(event.value) // 64, event)
            self._place(value, event, 1 + len(event.value) // 64)
        elif isinstance(event, yaml.AliasEvent):
            value, weight = self._alias(event)
            self._charge(weight, event)
            self._place(value, event, weight)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)

    def _key(self, event: yaml.Event, frame: _Frame) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._bad(event, "a key must be plain text, not a mapping, a list or an alias", frame.path)
        self._charge(1 + len(event.value) // 64, event)
        if event.value == "<<" and event.implicit[0]:
            return "<<"
        key = self._scalar(event, frame.path)
        if not isinstance(key, str):
            kind = "nothing" if key is None else "a boolean" if isinstance(key, bool) else "a number"
            raise self._bad(event, f"the key {event.value[:64]!r} reads as {kind}; put it in quotes", frame.path)
        path = (*frame.path, key)
        if key in frame.value:
            first = self._lines.get(path, 0)
            raise self._bad(event, f"is given twice (first on line {first}); keep one", path)
        self._lines[path] = _line(event)
        return key

    def _scalar(self, event: yaml.ScalarEvent, path: Path | None = None) -> Any:
        try:
            return resolve(event.value, event.tag, plain=event.implicit[0])
        except NotJson as error:
            raise self._bad(event, str(error), path) from None

    def _alias(self, event: yaml.AliasEvent) -> tuple[Any, int]:
        if event.anchor in self._anchors:
            return self._anchors[event.anchor]
        if any(frame.anchor == event.anchor for frame in self._stack):
            raise self._bad(event, f"the alias *{event.anchor} contains itself")
        raise self._bad(event, f"there is no anchor &{event.anchor} before this alias")

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        path = self._here()
        if len(self._stack) >= MAX_DEPTH:
            raise _BadFile(path[:8], _line(event), f"nested more than {MAX_DEPTH} deep; the rest is not read")
        is_map = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", "tag:yaml.org,2002:map" if is_map else "tag:yaml.org,2002:seq"):
            raise self._bad(event, f"the tag {event.tag[:64]} is not read; leave it out", path)
        self._lines.setdefault(path, _line(event))
        before = self._weight
        self._charge(1, event)
        self._stack.append(_Frame({} if is_map else [], path, event.anchor, before))

    def _close(self) -> None:
        frame = self._stack.pop()
        for merged in frame.merged:
            for key, value in merged.items():
                if key not in frame.value:
                    frame.value[key] = value
        weight = self._weight - frame.weight_before
        self._put(frame.value, frame.anchor, weight)

    def _place(self, value: Any, event: yaml.Event, weight: int) -> None:
        self._lines.setdefault(self._here(), _line(event))
        self._put(value, event.anchor if isinstance(event, yaml.ScalarEvent) else None, weight)

    def _put(self, value: Any, anchor: str | None, weight: int) -> None:
        """Hand a finished node to the one that holds it."""
        if anchor is not None:
            self._anchors[anchor] = (value, weight)
        if not self._stack:
            self._root = value
            return
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
            return
        key, frame.key = frame.key, None
        assert key is not None
        if key != "<<":
            frame.value[key] = value
            return
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise _BadDocument((*frame.path, "<<"), self._lines[(*frame.path, "<<")], "merges mappings only")
        frame.merged += sources

    def _here(self) -> Path:
        """The path of the node that comes next."""
        if not self._stack:
            return ()
        frame = self._stack[-1]
        return (*frame.path, len(frame.value) if isinstance(frame.value, list) else str(frame.key))

    def _charge(self, weight: int, event: yaml.Event) -> None:
        self._weight += weight
        if self._weight > MAX_WEIGHT:
            message = f"the file expands to more than {MAX_WEIGHT} values, aliases included; the rest is not read"
            raise _BadFile(self._here()[:8], _line(event), message)

    def _bad(self, event: yaml.Event, message: str, path: Path | None = None) -> _BadDocument:
        return _BadDocument(self._here() if path is None else path, _line(event), message)

    def _error(self, bad: _BadDocument) -> ObjectError:
        return ObjectError(file=self._file, line=bad.line, path=format_path(bad.path), message=bad.message)

    def _syntax(self, error: yaml.YAMLError) -> ObjectError:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error)
        context = getattr(error, "context", None)
        message = f"not valid YAML: {problem}" + (f" {context}" if context else "")
        if mark is None:
            return _whole(self._file, 0, message)
        around = self._text.splitlines()[mark.line : mark.line + 1] or [""]
        if "\t" in around[0][: len(around[0]) - len(around[0].lstrip())]:
            message = "not valid YAML: a tab stands where only spaces can; indent with spaces"
        return _whole(self._file, mark.line + 1, message)


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def _skip_document(events: Iterator[yaml.Event]) -> None:
    for event in events:
        if isinstance(event, yaml.DocumentEndEvent):
            return
