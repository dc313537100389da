"""What this machine lacks for a real cluster, in one sentence, or None. And the one thing it can be given: Debian's
packages.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from cluster import binaries, groups, node_config
from cluster.errors import ClusterError

_PACKAGE_OF: Final = {
    "runc": "runc",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ipset": "ipset",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "gcc": "gcc",
}
_PLUGINS_PACKAGE: Final = "containernetworking-plugins"
_FREE_TO_RUN_MIB: Final = 4 * 1024
_FREE_TO_BUILD_MIB: Final = 14 * 1024
_MEMORY_MIB: Final = 3 * 1024
_TRIAL: Final = (
    "ip link add name trial type bridge && ip link add trial-a type veth peer name trial-b"
    " && mount -t tmpfs none /mnt && iptables -w -t nat -L >/dev/null"
)


class PackagesError(ClusterError):
    """Debian's packages could not be installed; the message says which."""


def lacking() -> str | None:
    """One sentence naming what keeps a cluster from starting here, or None when nothing does. Changes nothing."""
    if not sys.platform.startswith("linux"):
        return "a cluster of one's own needs Linux"
    if os.geteuid() != 0:
        return "a cluster of one's own needs root, to make network and mount namespaces"
    missing = missing_packages()
    if missing and shutil.which("apt-get") is None:
        return f"these programs of Debian are missing and there is no apt-get: {', '.join(missing)}"
    return _lacking_room() or _lacking_kernel(tools_present=not missing)


def missing_packages(extra: dict[str, str] | None = None) -> list[str]:
    """Debian packages whose programs are not here."""
    wanted = {**_PACKAGE_OF, **(extra or {})}
    missing = {package for program, package in wanted.items() if shutil.which(program) is None}
    if not (Path(node_config.CNI_PLUGINS) / "bridge").exists():
        missing.add(_PLUGINS_PACKAGE)
    return sorted(missing)


def install_packages(packages: list[str]) -> None:
    """Raises PackagesError."""
    if not packages:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Somebody else may be installing something at this moment.
    wait = ["-o", "DPkg::Lock::Timeout=120"]
    install = ["apt-get", *wait, "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    done = subprocess.run(install, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:  # the package lists may be missing or old
        subprocess.run(["apt-get", "update", "--quiet"], capture_output=True, check=False, env=environment)
        done = subprocess.run(install, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PackagesError(f"cluster: `apt-get install {' '.join(packages)}` failed: {said}")


def _lacking_room() -> str | None:
    built = binaries.available(groups.WHOLE_CLUSTER)
    needed = _FREE_TO_RUN_MIB if built else _FREE_TO_BUILD_MIB
    existing = next(path for path in (binaries.cache_directory(), *binaries.cache_directory().parents) if path.exists())
    free = shutil.disk_usage(existing).free // 2**20
    if free < needed:
        purpose = "running" if built else "building and running"
        return f"{purpose} the cluster needs {needed} MiB of free disk and {existing} has {free} MiB"
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:") and int(line.split()[1]) // 1024 < _MEMORY_MIB:
            return f"the cluster needs {_MEMORY_MIB} MiB of memory and {int(line.split()[1]) // 1024} MiB are available"
    return None


def _lacking_kernel(*, tools_present: bool) -> str | None:
    trial = _TRIAL if tools_present else "true"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", trial],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"this kernel does not let us make namespaces, bridges or firewall rules ({said})"
    if not Path("/sys/fs/cgroup").is_dir() or not os.access("/sys/fs/cgroup", os.W_OK):
        return "control groups are not writable at /sys/fs/cgroup"
    return None
