"""Puts images into the nodes' containerd, only where they are not there yet.

Beside its name each image gets a second one that holds a digest of its tar; a node has an image when both names mean
the same.
"""

import hashlib
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.binaries import binary
from cluster.errors import ClusterError
from cluster.layout import Layout, NodeLayout


class LoadError(ClusterError):
    """containerd refused an image; the message names node and image."""


def load(layout: Layout, archives: Mapping[str, Path]) -> list[str]:
    """Imports what is missing, on all nodes at once; returns `NODE REFERENCE` of each import. Raises LoadError."""
    marks = {reference: _mark(reference, archive) for reference, archive in archives.items()}
    with ThreadPoolExecutor(len(layout.nodes)) as pool:
        imported = list(pool.map(lambda node: _load(node, archives, marks), layout.nodes))
    return [line for lines in imported for line in lines]


def _load(node: NodeLayout, archives: Mapping[str, Path], marks: Mapping[str, str]) -> list[str]:
    present = _present(node)
    imported = []
    for reference, archive in archives.items():
        mark = marks[reference]
        if mark in present and present.get(reference) == present[mark]:
            continue
        _ctr(node, "images", "import", "--local", str(archive))
        _ctr(node, "images", "tag", "--force", reference, mark)
        imported.append(f"{node.name} {reference}")
    return imported


def _present(node: NodeLayout) -> dict[str, str]:
    """Reference to digest."""
    lines = _ctr(node, "images", "list").splitlines()[1:]
    words = (line.split() for line in lines)
    return {each[0]: each[2] for each in words if len(each) > 2}


def _ctr(node: NodeLayout, *arguments: str) -> str:
    command = [str(binary("ctr")), "--address", str(node.socket), "--namespace", "k8s.io", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadError(f"cluster: `ctr {' '.join(arguments)}` failed on {node.name}: {done.stderr.strip()}")
    return done.stdout


def _mark(reference: str, archive: Path) -> str:
    """The tars of one image have names that change with their content, and are never changed in place."""
    name = reference.rpartition("/")[2].partition(":")[0]
    stamp = f"{archive.name} {archive.stat().st_size} {archive.stat().st_mtime_ns}"
    return f"localhost/loaded/{name}:{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
