"""The image that every Dockerfile begins with. Pulled where a registry answers; else made from Debian's own
packages.

Made by debootstrap it gets the public image's name, so that the Dockerfiles build unchanged on a machine without a
registry.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cluster.errors import ClusterError

REFERENCE: Final = "docker.io/library/debian:bookworm-slim"
_SUITE: Final = "bookworm"
_PULL_TIMEOUT_S: Final = 120
_LEFT_OUT: Final = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)
_SLIM: Final = "".join(
    f"path-exclude {path}/*\n" for path in ("/usr/share/doc", "/usr/share/man", "/usr/share/info", "/usr/share/locale")
)
_APT: Final = """\
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
"""As in the public image: caches of apt would make up a third of ours."""


class BaseImageError(ClusterError):
    """The base image could neither be pulled nor made."""


def ensure(say: Callable[[str], None]) -> str:
    """Makes sure that buildah has the base image, and returns its id. Raises BaseImageError."""
    if not _runs("buildah", "inspect", "--type=image", REFERENCE) and not _runs(
        "buildah", "pull", "--quiet", REFERENCE, timeout_s=_PULL_TIMEOUT_S
    ):
        _make(say)
    return _output("buildah", "inspect", "--type=image", "--format={{.FromImageID}}", REFERENCE)


def _make(say: Callable[[str], None]) -> None:
    say(f"no registry answers; making {REFERENCE} by debootstrap ...")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", _SUITE, str(root), *_mirror()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stdout.strip().splitlines() or ["no message"])[-1]
            raise BaseImageError(f"cluster: {REFERENCE} cannot be pulled, and `debootstrap {_SUITE}` failed: {said}")
        for folder in _LEFT_OUT:
            shutil.rmtree(root / folder, ignore_errors=True)
        (root / "var/lib/apt/lists/partial").mkdir(parents=True)
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True, exist_ok=True)
        (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(_SLIM)
        (root / "etc/apt/apt.conf.d/slim").write_text(_APT)
        container = _output("buildah", "from", "scratch")
        try:
            _output("buildah", "add", "--quiet", container, str(root), "/")
            _output(
                "buildah",
                "config",
                "--cmd=/bin/bash",
                "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                container,
            )
            _output("buildah", "commit", "--quiet", container, REFERENCE)
        finally:
            _output("buildah", "rm", container)


def _mirror() -> list[str]:
    """The mirror that this machine's own apt uses for Debian, if it names one."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        words = line.split()
        if words[1:] == [_SUITE, "main"]:
            return [words[0]]
    return []


def _runs(*command: str, timeout_s: float = 60) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=timeout_s).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BaseImageError(f"cluster: `{' '.join(command[:2])}` failed: {done.stderr.strip()}")
    return done.stdout.strip()
