"""One file of objects: its bytes into functions and policies, and one error for each document that is none.

Reads no file and keeps no state: the same bytes give the same answer. Watching is stoker_cli.objects.file_store's.
"""

import uuid
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

from msgspec import Struct

from stoker.errors import InvalidObject
from stoker.model.function import Function
from stoker.model.policy import Policy
from stoker.wire.crd import decode_function
from stoker.wire.policy import NAME, decode_policy
from stoker_cli.launching import CannotRun
from stoker_cli.objects.documents import Document, ObjectError, Path, read_documents
from stoker_cli.objects.validation import Validator

Key = tuple[str, str]
"""Kind and `namespace/name` (a policy has no namespace)."""
Check = Callable[[Function], Function | CannotRun]
"""A function as this installation runs it (with its warnings), or why it never can."""

_UID_SPACE = uuid.UUID("6f1a2c1e-6b0b-5d52-9a5e-0f6c1f2d7b11")


class Loaded(Struct, frozen=True, kw_only=True):
    """An object and where in its file it stands."""

    key: Key
    line: int
    value: Function | Policy


class FileObjects(Struct, frozen=True, kw_only=True):
    """What a file holds."""

    objects: dict[Key, Loaded]
    errors: tuple[ObjectError, ...] = ()
    broken: frozenset[Key] = frozenset()
    """Objects that stand in the file and are not valid."""
    unread: bool = False
    """Part of the file could not even be told apart into objects: what is missing may still be meant."""


def load_objects(data: bytes, file: str, validator: Validator, check: Check | None = None) -> FileObjects:
    """All objects of a file. Never raises for what is in it."""
    documents, errors = read_documents(data, file)
    objects: dict[Key, Loaded] = {}
    broken: set[Key] = set()
    unread = bool(errors)
    for document in documents:
        result = _load(document, validator, check)
        if isinstance(result, Loaded):
            if result.key in objects:
                first = objects[result.key].line
                message = f"{result.key[1]!r} stands in this file already (line {first}); the first one stays"
                errors.append(document.error(("metadata", "name"), message))
            else:
                objects[result.key] = result
            continue
        errors += result
        key = _key_of(document.value)
        if key is None:
            unread = True
        else:
            broken.add(key)
    errors.sort(key=lambda error: error.line)
    return FileObjects(objects=objects, errors=tuple(errors), broken=frozenset(broken - objects.keys()), unread=unread)


def _load(document: Document, validator: Validator, check: Check | None) -> Loaded | list[ObjectError]:
    value, errors = validator.validate(document)
    if value is None:
        return errors
    try:
        decoded = _decode(value, document.file)
    except InvalidObject as error:
        return [_placed(document, error)]
    if isinstance(decoded, Function):
        checked = decoded if check is None else check(decoded)
        if isinstance(checked, CannotRun):
            return [document.error(checked.path, checked.message)]
        decoded = checked
    key = _key_of(value)
    assert key is not None
    return Loaded(key=key, line=document.line, value=decoded)


def _decode(value: dict[str, Any], file: str) -> Function | Policy:
    if value["kind"] == "GpuPolicy":
        return decode_policy(value)
    path = FilePath(file).absolute()
    metadata = value["metadata"]
    uid = uuid.uuid5(_UID_SPACE, "\0".join((str(path), metadata["namespace"], metadata["name"])))
    return decode_function(value, uid=str(uid), origin=file, work_dir=str(path.parent))


def _placed(document: Document, error: InvalidObject) -> ObjectError:
    """A decoder's error on the line of its field."""
    located: Path = tuple(
        int(part[1:-1]) if part.startswith("[") and part[1:-1].isdigit() else part
        for part in error.path.replace("[", ".[").split(".")
    )
    return ObjectError(file=document.file, line=document.line_of(located), path=error.path, message=error.message)


def _key_of(value: Any) -> Key | None:
    """The identity of an object that may not be valid; None where it cannot be told."""
    if not isinstance(value, dict) or value.get("kind") not in ("GpuFunction", "GpuPolicy"):
        return None
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        return None
    if value["kind"] == "GpuPolicy":
        # There is one: by another name it is that one, mistyped, and must not take the last good one away.
        return value["kind"], NAME
    namespace = metadata.get("namespace") or "default"
    return (value["kind"], f"{namespace}/{metadata['name']}") if isinstance(namespace, str) else None
