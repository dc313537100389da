"""Builds the cluster's programs and keeps them: `binary("etcd")` is a path, `ensure([...])` builds what is missing.

A program lies under the cache folder of its pins and flags, so other pins never meet old programs. It appears there
by a rename when it is whole, and a lock per group keeps two processes from building the same thing twice.
"""

import fcntl
import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterError
from cluster.groups import GROUPS, Group, group_of
from cluster.toolchain import go_command, go_environment, wanted_version

_CPUS_PER_BUILD = 4
"""`go build` uses several cores by itself; more builds at once only add memory (2.4 GiB for the API server)."""


class BuildError(ClusterError):
    """A program could not be built; the message names it and the log."""


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "stoker" / "cluster"


def group_directory(group: Group) -> Path:
    """Where the programs of these very pins and flags lie."""
    digest = hashlib.sha256()
    for part in (
        (group.pins / "go.mod").read_bytes(),
        (group.pins / "go.sum").read_bytes(),
        " ".join(group.flags).encode(),
        platform.machine().encode(),
    ):
        digest.update(len(part).to_bytes(8, "big") + part)
    return cache_directory() / f"{group.name}-{digest.hexdigest()[:16]}" / "bin"


def binary(name: str) -> Path:
    """The path of a program; it need not have been built yet."""
    return group_directory(group_of(name)) / name


def available(names: Iterable[str]) -> bool:
    return all(binary(name).is_file() for name in names)


def ensure(names: Iterable[str], say: Callable[[str], None] = print) -> None:
    """Builds what is missing. Raises BuildError or ToolchainError; what was finished before stays."""
    wanted = frozenset(names)
    missing = [(group, tuple(n for n in group.packages if n in wanted and not binary(n).is_file())) for group in GROUPS]
    missing = [(group, programs) for group, programs in missing if programs]
    if not missing:
        return
    at_once = max(1, (os.cpu_count() or 1) // _CPUS_PER_BUILD)
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        for built in [pool.submit(_build, group, programs, say) for group, programs in missing]:
            built.result()


def _build(group: Group, programs: tuple[str, ...], say: Callable[[str], None]) -> None:
    folder = group_directory(group)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / "lock", f"another process builds {group.name}; waiting for it", say):
        go = go_command(wanted_version((group.pins / "go.mod").read_text()), cache_directory())
        for name in programs:
            if (folder / name).is_file():
                continue
            began = time.monotonic()
            say(f"building {name} ...")
            _build_one(go, group, name, folder)
            say(f"built {name} in {time.monotonic() - began:.0f} s")


def _build_one(go: Path, group: Group, name: str, folder: Path) -> None:
    partial = folder / f".{name}.partial"
    log = folder.parent / f"{name}.log"
    with log.open("wb") as output:
        done = subprocess.run(
            [go, "build", *group.flags, "-o", partial, group.packages[name]],
            cwd=group.pins,
            env=go_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        tail = (log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise BuildError(f"cluster: building {name} failed ({tail}); the whole log is {log}")
    partial.replace(folder / name)
    log.unlink()


@contextmanager
def _locked(path: Path, if_taken: str, say: Callable[[str], None]) -> Iterator[None]:
    """The lock belongs to the open file, so that it ends with the process, however that ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(if_taken)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
