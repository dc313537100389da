"""Puts together what an image is built from: its folder in images/ and what its context.toml adds.

    requirements = "requirements/images/NAME.txt"   # copied as requirements.txt, its wheels to wheels/
    wheel = true                                    # this project's wheel to app/
    [files]                                         # file or folder in the context = file or folder in the repository
    "app/handler.py" = "examples/ocr/handler.py"

Wheels are fetched on this machine by its own pip settings, so that a build needs no package index and no file names an
address. Debian's packages come by apt-get during the build, over this machine's network.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from cluster.binaries import cache_directory
from cluster.errors import ClusterError

REPOSITORY: Final = Path(__file__).parents[2]
_IMAGES: Final = REPOSITORY / "images"
_SETTINGS: Final = "context.toml"
_IGNORED: Final = shutil.ignore_patterns("__pycache__", "*.pyc", _SETTINGS)
_PYTHON: Final = "3.11"
"""Of Debian bookworm, in the images; the machine's own may differ."""
_NEWEST_GLIBC: Final = 36


class ContextError(ClusterError):
    """An image cannot be put together; the message says what is missing."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a context.toml."""

    requirements: str = ""
    wheel: bool = False
    files: dict[str, str] = {}


def image_names() -> list[str]:
    """The folders in images/ that can be built."""
    return sorted(path.parent.name for path in _IMAGES.glob("*/Dockerfile"))


def prepare(name: str, target: Path) -> str:
    """Fills the (new) folder and returns a digest of its content. Raises ContextError."""
    source = _IMAGES / name
    if not (source / "Dockerfile").is_file():
        raise ContextError(f"cluster: there is no images/{name}/Dockerfile; there are {', '.join(image_names())}")
    settings = settings_of(name)
    shutil.copytree(source, target, ignore=_IGNORED)
    for inside, path in settings.files.items():
        _copy(REPOSITORY / path, target / inside)
    if settings.requirements:
        lock = REPOSITORY / settings.requirements
        _copy(lock, target / "requirements.txt")
        _copy(_wheels(lock), target / "wheels")
    if settings.wheel:
        _own_wheel(target / "app")
    return _digest(target)


def settings_of(name: str) -> Settings:
    """What an image's context.toml adds. Raises ContextError."""
    path = _IMAGES / name / _SETTINGS
    if not path.exists():
        return Settings()
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text())
        return msgspec.convert(document, Settings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ContextError(f"cluster: {path} is not as dev/cluster/build_context.py describes it: {error}") from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=_IGNORED, dirs_exist_ok=True)
    elif source.is_file():
        shutil.copy(source, target)
    else:
        raise ContextError(f"cluster: {source}, which an image is built from, does not exist")


def _wheels(lock: Path) -> Path:
    """The wheels of a lock file, fetched once for the images' Python and glibc."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = cache_directory() / "wheels" / f"{lock.stem}-{digest}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    machine = os.uname().machine
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(_NEWEST_GLIBC, 16, -1)]
    options = [*platforms, f"--platform=manylinux2014_{machine}", f"--python-version={_PYTHON}", "--implementation=cp"]
    _pip(
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        *options,
        f"--dest={partial}",
        f"--requirement={lock}",
    )
    partial.rename(folder)
    return folder


def _own_wheel(folder: Path) -> None:
    """hatchling makes the same bytes of the same sources."""
    _pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(REPOSITORY))


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ContextError(f"cluster: `pip {arguments[0]}` for an image failed: {said}")


def _digest(folder: Path) -> str:
    """Over paths, modes and content, not times."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        executable = os.access(path, os.X_OK)
        for part in (str(path.relative_to(folder)).encode(), bytes([executable]), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]
