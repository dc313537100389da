"""`python -m cluster_e2e [PYTEST ARGUMENTS]`: a cluster, the images, the chart, then `pytest -m cluster`.

With KUBECONFIG set it uses that cluster, and installs and removes the chart only where it is not installed. Else it
brings up a cluster of its own beside whatever else runs, and removes it (STOKER_KEEP_CLUSTER=1 keeps it for the next
run). Where this machine cannot have one it says so in one line; STOKER_REQUIRE_CLUSTER=1 makes that a failure.
`python -m cluster_e2e programs` only makes the programs that contract tests start.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from cluster import binaries, groups, images, layout, prerequisites, release, start
from cluster.__main__ import main as cluster
from cluster.errors import ClusterError

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "tests"
INDEX: Final = 7
"""Subnets and ports of their own, so that a cluster of `make cluster` is left alone."""
NEEDS: Final = ("stoker", "wait-for-device", "pause", "simulated-gpus", "echo-function")


def main(arguments: list[str]) -> int:
    try:
        return prepare() if arguments == ["programs"] else test(arguments)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def prepare() -> int:
    """API server, scheduler, helm, Prometheus and the rest, built where they are not in the cache."""
    if (lack := prerequisites.lacking()) is not None:
        return skip("contract tests on a real API server", lack)
    with step("programs"):
        prerequisites.install_packages(prerequisites.missing_packages())
        binaries.ensure([program for group in groups.GROUPS for program in group.packages], say)
    return 0


def test(arguments: list[str]) -> int:
    given = os.environ.get("KUBECONFIG", "")
    wanted = layout.make_layout(NAME, INDEX, layout.DEFAULT_PORT_BASE)
    if not given and not start.runs(wanted) and (lack := prerequisites.lacking()) is not None:
        return skip("tests on a real Kubernetes", lack)
    with ExitStack() as stack:
        if not given:
            own_cluster(stack.callback)
        kubeconfig = Path(given) if given else wanted.kubeconfig
        binaries.ensure(list(release.PROGRAMS), say)
        if not given or not release.installed(kubeconfig):
            with step("chart installed, all Ready"):
                release.install(kubeconfig, release.values(images.built()))
            if given:
                stack.callback(release.remove, kubeconfig)
        with step("tests on the cluster"):
            return subprocess.run(
                [sys.executable, "-m", "pytest", "-m", "cluster", "tests/cluster", *arguments],
                cwd=ROOT,
                env=os.environ | {"KUBECONFIG": str(kubeconfig)},
                check=False,
            ).returncode


def own_cluster(at_end: Callable[..., object]) -> None:
    with step("images"):
        prerequisites.install_packages(prerequisites.missing_packages())
        binaries.ensure(list(groups.WHOLE_CLUSTER), say)
        images.build_all(NEEDS, say, registry=None, tag="dev")
    if os.environ.get("STOKER_KEEP_CLUSTER") != "1":
        at_end(cluster, ["down", f"--name={NAME}"])
    with step("cluster"):
        if cluster(["up", f"--name={NAME}", f"--index={INDEX}"]) != 0:
            raise ClusterError("e2e: the cluster did not come up; the line above says why")


def skip(what: str, lack: str) -> int:
    """One line, and whether that is a failure here."""
    print(f"SKIPPED: {what}: {lack}", flush=True)
    return int(os.environ.get("STOKER_REQUIRE_CLUSTER") == "1")


@contextmanager
def step(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{time.monotonic() - began:.0f} s  {what}")


def say(line: str) -> None:
    print(f"e2e: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
