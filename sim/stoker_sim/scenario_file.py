"""Reads SCENARIO.yaml. Whatever is wrong with it is one sentence with the file, the line and the field."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import yaml

from stoker.errors import StokerError
from stoker_sim.scenario import BadScenario, DeviceChoice, MemoryChoice, PolicyChoice, Scenario, check
from stoker_sim.sources.forms import AnySource, Mapped
from stoker_sim.sources.units import decode_unit

MAX_BYTES = 1 << 20

_KINDS = tuple(str(source.__struct_config__.tag) for source in get_args(AnySource))
_FORMS = (Scenario, DeviceChoice, PolicyChoice, MemoryChoice, Mapped, *get_args(AnySource))
_FIELDS = sorted({field.encode_name for form in _FORMS for field in msgspec.structs.fields(form)})
_PLACE = re.compile(r"(?s)(.*?)(?: - at `(?:key in )?\$(.*)`)?$")
_NAME = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class BadScenarioFile(StokerError):  # noqa: N818  the name states the fact
    """As in `azure.yaml line 7, policies[1]: no queueing policy is named 'lifo'; choose one of ...`."""

    def __init__(self, path: Path, reason: str, *, line: int | None = None, field: str = "") -> None:
        where = str(path) + (f" line {line}" if line else "") + (f", {field}" if field else "")
        super().__init__(" ".join(f"{where}: {reason}".split()))
        self.line = line
        self.field = field


def read_scenario(path: Path) -> Scenario:
    """The scenario of a file; its name is that of the file where it gives none. Raises BadScenarioFile."""
    text = _text(path)
    root = _root(path, text)
    try:
        scenario = msgspec.convert(_value(path, root), Scenario, dec_hook=decode_unit)
        check(scenario)
    except msgspec.ValidationError as error:
        reason, field = _told(str(error))
        if reason == "expected float, got str":
            reason += _as_number(root, field)
        raise BadScenarioFile(path, reason, line=_line(root, field), field=field) from None
    except BadScenario as error:
        raise BadScenarioFile(path, error.reason, line=_line(root, error.field), field=error.field) from None
    return scenario if scenario.name else msgspec.structs.replace(scenario, name=path.stem)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadScenarioFile(path, "there is no such file; check the name and the folder") from None
    except IsADirectoryError:
        raise BadScenarioFile(path, "is a folder; name the file in it") from None
    except OSError as error:
        raise BadScenarioFile(path, f"cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise BadScenarioFile(path, f"has more than {MAX_BYTES} bytes; is it a scenario?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadScenarioFile(path, "is not UTF-8 text; save it as UTF-8", line=line) from None


def _root(path: Path, text: str) -> yaml.Node:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        reason = f"is not valid YAML: {error.reason} (#x{ord(text[error.position]):04x})"
        raise BadScenarioFile(path, reason, line=text.count("\n", 0, error.position) + 1) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        line = None if mark is None else mark.line + 1
        raise BadScenarioFile(path, f"is not valid YAML: {problem}", line=line) from None
    except RecursionError:
        raise BadScenarioFile(path, "is nested too deeply; is it a scenario?") from None
    if not isinstance(root, yaml.MappingNode):
        raise BadScenarioFile(path, "is no scenario; begin it with workload: and devices:", line=1)
    return root


def _value(path: Path, root: yaml.Node) -> Any:
    """The plain value of a node. A key that stands twice in a mapping is an error: YAML would keep the last."""
    seen: set[int] = set()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.tag not in (_NAME, _MERGE):
                    reason = f"{key.value} is no name of a field; it reads as a number, a date or yes and no: quote it"
                    raise BadScenarioFile(path, reason, line=line)
                if str(key.value) in keys:
                    raise BadScenarioFile(path, f"{key.value} is given twice; keep one", line=line)
                keys.add(str(key.value))
                nodes += [key, value]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(root)
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a plain date that is none, such as 2020-13-45.
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise BadScenarioFile(path, f"{problem}", line=None if mark is None else mark.line + 1) from None
    finally:
        loader.dispose()


def _told(message: str) -> tuple[str, str]:
    """Reason and field of msgspec's message, as in `Expected `int`, got `str` - at `$.seeds``."""
    found = _PLACE.fullmatch(message)
    assert found is not None
    reason, field = found[1], (found[2] or "").removeprefix(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", reason)
    if unknown:
        near = get_close_matches(unknown[1], _FIELDS, 1, 0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"there is no such field here{hint}", f"{field}.{unknown[1]}".removeprefix(".")
    missing = re.fullmatch(r"Object missing required field `(.*)`", reason)
    if missing:
        return f"{missing[1]} is missing", field
    name = field.rpartition(".")[2].partition("[")[0]
    if name == "kind":
        return f"{reason}; use one of: {', '.join(_KINDS)}", field
    if reason.startswith("Invalid enum value"):
        return f"{reason}; use one of: {', '.join(sorted(_values_of(name)))}", field
    return reason.replace("`", "").replace("Expected", "expected", 1), field


def _values_of(name: str) -> set[str]:
    """What a field of that name may say, in whatever form it stands."""
    return {
        str(member.value)
        for form in _FORMS
        for field in msgspec.structs.fields(form)
        if field.encode_name == name
        for kind in _kinds_in(get_type_hints(form)[field.name])
        for member in kind
    }


def _kinds_in(hint: Any) -> Iterator[type[Enum]]:
    if isinstance(hint, type) and issubclass(hint, Enum):
        yield hint
    for part in get_args(hint):
        yield from _kinds_in(part)


def _as_number(root: yaml.Node, field: str) -> str:
    """Python and people read 1e3 as a number, YAML 1.1 does not."""
    text = str(getattr(_found(root, field)[1], "value", ""))
    try:
        value = float(text)
    except ValueError:
        return ""
    return f"; YAML reads {text} as text, write {value:.15g}" if value < 1e15 else f"; YAML reads {text} as text"


def _line(root: yaml.Node, field: str) -> int:
    """The line of a field, or of the nearest part around it that stands in the file."""
    return _found(root, field)[0]


def _found(node: yaml.Node, field: str) -> tuple[int, yaml.Node]:
    """A field's line and value, or those of the nearest part around it."""
    line = int(node.start_mark.line) + 1
    for name, index in _STEP.findall(f".{field}" if field and not field.startswith("[") else field):
        child: yaml.Node | None = None
        if name and isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == name:
                    line, child = int(key.start_mark.line) + 1, value
        elif index.isdigit() and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
            child = node.value[int(index)]
            line = int(child.start_mark.line) + 1
        if child is None:
            break
        node = child
    return line, node
