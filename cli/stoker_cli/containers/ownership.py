"""Whose containers are whose: labels and names by which those of a `stoker serve` that was killed are found again.

A container's name holds the serve that made it: process id, start of that process, boot of the machine, and a random
part. Only containers of the same user, machine and process namespace are judged: process ids of another mean nothing.
"""

import hashlib
import os
import re
import secrets
import socket
from pathlib import Path

from msgspec import Struct

from stoker_cli.state_file import process_start

SERVE = "stoker.dev/serve"
OWNER = "stoker.dev/owner"
REPLICA = "stoker.dev/replica"

_NAME = re.compile(r"stoker-(?P<pid>[0-9]+)-(?P<start>[0-9]+)-(?P<boot>[0-9a-f]{8})-[0-9a-f]{4}-.+")


class Ownership(Struct, frozen=True, kw_only=True):
    """One launcher of one `stoker serve`."""

    serve: str
    owner: str
    boot: str

    def name_of(self, replica_id: str) -> str:
        """The name of a replica's container."""
        return f"stoker-{self.serve}-{replica_id.replace('/', '.')}"

    def labels_of(self, replica_id: str) -> dict[str, str]:
        return {SERVE: self.serve, OWNER: self.owner, REPLICA: replica_id}

    @property
    def mine(self) -> str:
        """Filter for the containers of this serve."""
        return f"label={SERVE}={self.serve}"

    @property
    def comparable(self) -> str:
        """Filter for the containers that orphaned() can judge."""
        return f"label={OWNER}={self.owner}"

    def orphaned(self, name: str) -> bool:
        """Whether the serve that made the container of that name has ended. Names of others are nobody's."""
        found = _NAME.fullmatch(name)
        if found is None:
            return False
        if found["boot"] != self.boot:
            return True
        pid, start = int(found["pid"]), int(found["start"])
        if not start:
            return not _exists(pid)
        return process_start(pid) != start


def ownership() -> Ownership:
    """Of this process."""
    pid = os.getpid()
    boot = _text("/proc/sys/kernel/random/boot_id").replace("-", "")[:8]
    machine = _text("/etc/machine-id") or socket.gethostname()
    owner = f"{os.getuid()}\0{machine}\0{_namespace()}"
    return Ownership(
        serve=f"{pid}-{process_start(pid) or 0}-{boot or '00000000'}-{secrets.token_hex(2)}",
        owner=hashlib.sha256(owner.encode()).hexdigest()[:16],
        boot=boot or "00000000",
    )


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
