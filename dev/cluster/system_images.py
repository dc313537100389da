"""The images without which the cluster itself does not run, made of one static program each: pause, CoreDNS, kube-
scheduler.

kube-scheduler bears its public name, so that a chart that names it works here as it does elsewhere.
"""

import hashlib
import subprocess
from pathlib import Path
from typing import Final

from cluster import dns, image_archive, node_config
from cluster.binaries import binary, cache_directory
from cluster.errors import ClusterError
from cluster.groups import KUBERNETES_VERSION

SCHEDULER_IMAGE: Final = f"registry.k8s.io/kube-scheduler:{KUBERNETES_VERSION}"
_PAUSE_SOURCE: Final = Path(__file__).parents[2] / "images" / "pause" / "pause.c"


class CompileError(ClusterError):
    """The C compiler refused the pause program."""


def archives() -> dict[str, Path]:
    """Image reference to tar; made when missing. A tar's name changes with what is in it."""
    folder = cache_directory() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    result = {node_config.PAUSE_IMAGE: _pause(folder)}
    for reference, program, user in ((dns.IMAGE, "coredns", "0"), (SCHEDULER_IMAGE, "kube-scheduler", "65532:65532")):
        target = folder / f"{program}-{_digest(reference, binary(program).parents[1].name)}.tar"
        if not target.exists():
            image_archive.pack(target, reference, binary(program), user=user)
        result[reference] = target
    return result


def _pause(folder: Path) -> Path:
    target = folder / f"pause-{_digest(node_config.PAUSE_IMAGE, _PAUSE_SOURCE.read_text())}.tar"
    if not target.exists():
        built = folder / "pause-build"
        built.mkdir(exist_ok=True)
        program = built / "pause"
        done = subprocess.run(
            ["gcc", "-static", "-Os", "-s", "-o", program, _PAUSE_SOURCE], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise CompileError(f"cluster: gcc does not compile {_PAUSE_SOURCE}: {done.stderr.strip()}")
        image_archive.pack(target, node_config.PAUSE_IMAGE, program)
    return target


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
