"""The same commands on kind, for machines with Docker: `CLUSTER=kind`. Needs the programs kind and docker.

The nodes are kind's own; images come in as the tars that `images` built.
"""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cluster.errors import ClusterError
from cluster.groups import KUBERNETES_VERSION

_CONFIG: Final = Path(__file__).parents[1] / "kind.yaml"
_NODE_IMAGE: Final = f"kindest/node:{KUBERNETES_VERSION}"
_WAIT: Final = "120s"


class KindError(ClusterError):
    """kind is missing or refused; its own words are above the message."""


def up(name: str, kubeconfig: Path) -> None:
    """Creates the cluster, or leaves one that is there; writes its kubeconfig either way."""
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    if name in _kind("get", "clusters").split():
        kubeconfig.write_text(_kind("get", "kubeconfig", f"--name={name}"))
        kubeconfig.chmod(0o600)
        return
    _kind(
        *("create", "cluster", f"--name={name}", f"--config={_CONFIG}", f"--image={_NODE_IMAGE}"),
        *(f"--kubeconfig={kubeconfig}", f"--wait={_WAIT}"),
    )


def load(name: str, archives: Mapping[str, Path]) -> None:
    for archive in archives.values():
        _kind("load", "image-archive", f"--name={name}", str(archive))


def down(name: str, kubeconfig: Path) -> None:
    _kind("delete", "cluster", f"--name={name}")
    kubeconfig.unlink(missing_ok=True)


def _kind(*arguments: str) -> str:
    for program in ("kind", "docker"):
        if shutil.which(program) is None:
            raise KindError(f"cluster: CLUSTER=kind needs {program} on PATH; without CLUSTER=kind Docker is not needed")
    done = subprocess.run(["kind", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise KindError(f"cluster: `kind {' '.join(arguments)}` failed with exit status {done.returncode}")
    return done.stdout
