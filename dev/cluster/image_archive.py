"""Packs one static program as a container image (a docker-archive tar), without any builder. Same input, same bytes."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path


def pack(
    target: Path, reference: str, program: Path, *, user: str = "65532:65532", arguments: Sequence[str] = ()
) -> None:
    """Writes the tar: the program lies in /usr/local/bin and is the entry point. `target` appears when it is whole."""
    path_inside = f"usr/local/bin/{program.name}"
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo(path_inside)
        entry.size, entry.mode = program.stat().st_size, 0o755
        with program.open("rb") as file:
            tar.addfile(entry, file)
    content_of_layer = layer.getvalue()
    digest = hashlib.sha256(content_of_layer).hexdigest()
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            "os": "linux",
            "config": {
                "Entrypoint": [f"/{path_inside}", *arguments],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "User": user,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        },
        sort_keys=True,
    ).encode()
    name = hashlib.sha256(config).hexdigest()
    manifest = json.dumps([{"Config": f"{name}.json", "RepoTags": [reference], "Layers": [f"{digest}.tar"]}]).encode()
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with tarfile.open(partial, mode="w") as tar:
        for path, content in (
            (f"{digest}.tar", content_of_layer),
            (f"{name}.json", config),
            ("manifest.json", manifest),
        ):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    partial.replace(target)
