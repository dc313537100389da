"""What named files and folders hold right now: names and signatures, never contents."""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

_SUFFIXES = (".yaml", ".yml")


class Signature(Struct, frozen=True):
    """Differs when a file was written, replaced, or had its permissions changed. `problem`: why it cannot be read."""

    device: int = 0
    inode: int = 0
    modified_ns: int = 0
    changed_ns: int = 0
    size: int = -1
    problem: str = ""


class Scan(Struct, frozen=True):
    """One look at the file system."""

    files: dict[Path, Signature]
    """In the order in which they were named, those of a folder by name."""
    problems: dict[Path, str]
    """Named paths that are not there or cannot be listed, and why."""


def scan(paths: Sequence[Path], known: Mapping[Path, Signature]) -> Scan:
    """Look at `paths`. A folder that is there but cannot be listed counts as unchanged: its `known` files stay."""
    files: dict[Path, Signature] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            for file in _stands_for(path):
                signature = _signature(file)
                if signature is not None:
                    files.setdefault(file, signature)
        except (FileNotFoundError, NotADirectoryError):
            problems[path] = "there is no such file or folder; it is read as soon as it is there"
        except OSError as error:
            problems[path] = f"cannot be read: {error.strerror}"
            files |= {file: last for file, last in known.items() if path in (file, file.parent)}
    return Scan(files, problems)


def _stands_for(path: Path) -> list[Path]:
    """The file itself, or the YAML files of the folder; hidden ones are editors' and ConfigMaps' own."""
    if not stat.S_ISDIR(path.stat().st_mode):
        return [path]
    return sorted(
        entry for entry in path.iterdir() if entry.name.endswith(_SUFFIXES) and not entry.name.startswith(".")
    )


def _signature(file: Path) -> Signature | None:
    """None for what is gone (again) or is a folder."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        # It could be read, but not be named in JSON, where an object's file is shown.
        return Signature(problem="its name is not UTF-8 text; rename it")
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Signature(problem=error.strerror or "unknown error")
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):
        # A pipe or a device would hang its reader.
        return Signature(problem="it is not a regular file")
    return Signature(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
