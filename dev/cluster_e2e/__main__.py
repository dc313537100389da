"""`python -m cluster_e2e [WORDS FOR PYTEST]`: runs the tests marked `cluster`, and leaves the cluster as it was.

The cluster is that of $KUBECONFIG where it is one of dev/cluster, or its administrator allows it (`kubectl label
namespace kube-system stoker.dev/e2e=allowed`) and nothing of Stoker is in it; else one of dev/cluster, brought up for
this and taken down again (STOKER_KEEP_CLUSTER=1 keeps it). Where that cannot run here, one line says what is lacking
and all is well, unless STOKER_REQUIRE_CLUSTER=1. `python -m cluster_e2e programs` only makes the programs that
contract tests start, and installs podman.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from cluster import binaries, groups, images, layout, prerequisites, release, start
from cluster.__main__ import main as cluster
from cluster.errors import ClusterError
from cluster.kubectl import KubectlError, kubectl

NAME: Final = "e2e"
INDEX: Final = 7
"""Beside the cluster of `make cluster`, which may have something of somebody."""
ALLOWED: Final = "{.metadata.labels.stoker\\.dev/e2e}"
_PROGRAMS: Final = (*release.PROGRAMS, "prometheus", "promtool")
_IMAGES: Final = (
    *("stoker", "wait-for-device", "pause", "simulated-gpus"),
    *("echo-function", "example-ocr", "example-vad"),
)


class Under(msgspec.Struct, frozen=True):
    """The cluster that is tested."""

    kubeconfig: Path
    name: str = ""
    """Of dev/cluster's; empty for somebody else's, which must have the images."""


def main(words: list[str]) -> int:
    try:
        if words == ["programs"]:
            return _programs()
        with _cluster() as under:
            if under is None:
                return 1 if _required() else 0
            return _test(under, words)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _programs() -> int:
    if (lack := prerequisites.lacking()) is not None:
        return _skip("contract tests on a real API server", lack)
    with _step("programs"):
        # podman is for the container launchers of `stoker serve`, whose contract tests run beside those on the server.
        prerequisites.install_packages(prerequisites.missing_packages({"podman": "podman"}))
        binaries.ensure([program for group in groups.GROUPS for program in group.packages], _say)
    return 0


def _test(under: Under, words: list[str]) -> int:
    before = release.installed(under.kubeconfig)
    try:
        with _step("chart installed"):
            archives = images.built() if under.name else {}
            release.install(under.kubeconfig, release.values(archives))
        command = [sys.executable, "-m", "pytest", "-m", "cluster", "-p", "no:randomly", *words]
        environment = {**os.environ, "KUBECONFIG": str(under.kubeconfig), "STOKER_CLUSTER": under.name}
        with _step("tests on the cluster"):
            return subprocess.run(command, check=False, env=environment).returncode
    finally:
        if not before and not _kept():
            release.remove(under.kubeconfig)


@contextmanager
def _cluster() -> Iterator[Under | None]:
    """None where there can be none here; the reason was printed then."""
    given = os.environ.get("KUBECONFIG", "")
    if given:
        if (lack := _refused(Path(given))) is None:
            ours = _ours(Path(given))
            if ours is not None:
                # What is tested is what is here, not what was here when the cluster was made.
                _bring_up(ours)
            binaries.ensure(_PROGRAMS, _say)
            yield Under(Path(given), ours.name if ours is not None else "")
            return
        _say(f"KUBECONFIG is left alone: {lack}")
    fresh = layout.make_layout(NAME, INDEX, layout.DEFAULT_PORT_BASE)
    wanted = start.saved(fresh.directory) or fresh
    ran = start.runs(wanted)
    lack = None if ran else prerequisites.lacking()
    if lack is not None:
        _skip("tests on a cluster", lack)
        yield None
        return
    try:
        with _step("cluster and images"):
            _bring_up(wanted)
        yield Under(wanted.kubeconfig, NAME)
    finally:
        if not ran and not _kept():
            cluster(["down", f"--name={NAME}", f"--index={wanted.index}"])


def _bring_up(wanted: layout.Layout) -> None:
    prerequisites.install_packages(prerequisites.missing_packages())
    images.build_all(_IMAGES, _say, registry=None, tag="dev")
    binaries.ensure([*groups.WHOLE_CLUSTER, *_PROGRAMS], _say)
    if cluster(["up", f"--name={wanted.name}", f"--index={wanted.index}"]) != 0:
        raise ClusterError("e2e: the cluster did not come up; the line above says why")


def _refused(kubeconfig: Path) -> str | None:
    """Why the cluster of a kubeconfig is not for these tests, in one sentence."""
    if not kubeconfig.is_file():
        return f"there is no file {kubeconfig}"
    if _ours(kubeconfig) is not None:
        return None
    binaries.ensure(["kubectl"], _say)
    try:
        said = kubectl(kubeconfig, "get", "namespace", "kube-system", f"--output=jsonpath={ALLOWED}", timeout_s=15)
        if said != "allowed":
            return "its namespace kube-system lacks the label stoker.dev/e2e=allowed"
        found = kubectl(kubeconfig, "get", "crd", "--output=name", timeout_s=15)
    except KubectlError as error:
        return str(error)
    # The tests install their own values and remove everything in the end: nobody's functions may be there.
    return "Stoker's CRDs are in it already, and maybe somebody's functions" if ".stoker.dev" in found else None


def _ours(kubeconfig: Path) -> layout.Layout | None:
    """The cluster of dev/cluster that a kubeconfig is of, if it is of one."""
    folder = kubeconfig.resolve().parent
    found = start.saved(folder)
    return found if found is not None and found.directory == folder else None


def _skip(what: str, lack: str) -> int:
    """One line, and the exit code that it means here."""
    print(f"SKIPPED: {what}: {lack}", file=sys.stderr if _required() else sys.stdout)
    return int(_required())


def _required() -> bool:
    return os.environ.get("STOKER_REQUIRE_CLUSTER") == "1"


def _kept() -> bool:
    return os.environ.get("STOKER_KEEP_CLUSTER") == "1"


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    _say(f"{time.monotonic() - began:.1f} s  {what}")


def _say(line: str) -> None:
    print(f"e2e: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
