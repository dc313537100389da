"""Builds the images of images/* by buildah, or by docker where only that is there, and keeps them as tars in the cache.

An image is built when what it is made from changed. A registry is needed only to push to.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cluster import base_image, build_context, prerequisites
from cluster.binaries import cache_directory
from cluster.errors import ClusterError

_LOCAL: Final = "localhost"
_PACKAGES: Final = {"buildah": "buildah", "debootstrap": "debootstrap"}


class BuildError(ClusterError):
    """An image could not be built or pushed; the message names it and the log."""


class Built(msgspec.Struct, frozen=True):
    """The image of a folder as it was built last."""

    reference: str
    archive: str
    digest: str


def reference(name: str, registry: str = _LOCAL, tag: str = "dev") -> str:
    """What the image of a folder in images/ is called."""
    return f"{registry}/{name if name == 'stoker' else f'stoker-{name}'}:{tag}"


def built() -> dict[str, Path]:
    """Reference to tar of all images that were built and whose tar is still there."""
    found = {}
    for name in build_context.image_names():
        record = _record(_folder() / f"{name}.json")
        if record is not None and Path(record.archive).is_file():
            found[record.reference] = Path(record.archive)
    return found


def build_all(names: Sequence[str], say: Callable[[str], None], *, registry: str | None, tag: str) -> None:
    """Builds those whose content changed; with a registry tags and pushes all of them. Raises a ClusterError."""
    tool = _tool()
    base = base_image.ensure(say) if tool == "buildah" else ""
    for name in names or build_context.image_names():
        _build(tool, name, base, say)
        if registry is not None:
            target = reference(name, registry, tag)
            _run(name, [tool, "tag", reference(name), target])
            _run(name, [tool, "push", target])
            say(f"pushed {target}")


def _build(tool: str, name: str, base: str, say: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        digest = hashlib.sha256(f"{build_context.prepare(name, context)} {base}".encode()).hexdigest()[:16]
        record_path = _folder() / f"{name}.json"
        earlier = _record(record_path)
        if earlier is not None and earlier.digest == digest and Path(earlier.archive).is_file():
            return
        began = time.monotonic()
        local, archive = reference(name), _folder() / f"{name}-{digest}.tar"
        partial = archive.with_name(f".{archive.name}.{os.getpid()}")
        if tool == "buildah":
            _run(name, ["buildah", "bud", "--pull=never", "--layers", "--network=host", "--tag", local, str(context)])
            _run(name, ["buildah", "push", local, f"docker-archive:{partial}:{local}"])
        else:
            _run(name, ["docker", "build", "--network=host", "--tag", local, str(context)])
            _run(name, ["docker", "save", "--output", str(partial), local])
    partial.replace(archive)
    record_path.write_bytes(msgspec.json.encode(Built(local, str(archive), digest)))
    if earlier is not None and earlier.archive != str(archive):
        Path(earlier.archive).unlink(missing_ok=True)
    say(f"built {local} in {time.monotonic() - began:.0f} s ({archive.stat().st_size // 2**20} MiB)")


def _tool() -> str:
    """buildah, installed where apt can; else docker with a daemon that answers."""
    docker = (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    )
    if docker and shutil.which("buildah") is None:
        return "docker"
    prerequisites.install_packages(prerequisites.missing_packages(_PACKAGES))
    return "buildah"


def _run(name: str, command: Sequence[str]) -> None:
    log = _folder() / f"{name}.log"
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        )
    if done.returncode != 0:
        tail = (log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise BuildError(
            f"cluster: `{command[0]} {command[1]}` of images/{name} failed ({tail}); the whole log is {log}"
        )


def _record(path: Path) -> Built | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Built)
    except (OSError, msgspec.MsgspecError):
        return None


def _folder() -> Path:
    folder = cache_directory() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
