"""`python -m cluster_demo`: cluster, images, chart, two real functions; called cold and warm, from inside and outside.

Leaves everything running. Every figure is measured as it runs.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.markup import escape

from cluster import binaries, images, layout, prerequisites, release, start
from cluster.__main__ import main as cluster
from cluster.errors import ClusterError
from cluster.kubectl import apply, kubectl
from cluster_demo import calling
from cluster_demo.calling import Answer

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
NAMESPACE: Final = "demo"
NEEDS: Final = ("stoker", "wait-for-device", "pause", "simulated-gpus", "example-ocr", "example-vad")
_WARM_CALLS: Final = 3
_READY_S: Final = 20.0

out = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster_demo", description=__doc__)
    parser.add_argument("--name", default="default", help="name of the cluster")
    parser.add_argument("--index", type=int, help="number that chooses its subnets and ports")
    try:
        return demonstrate(parser.parse_args(arguments))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def demonstrate(options: argparse.Namespace) -> int:
    began = time.monotonic()
    wanted = layout.make_layout(options.name, options.index or 0, layout.DEFAULT_PORT_BASE)
    with step("cluster and images"):
        bring_up(options, wanted)
    kubeconfig = wanted.kubeconfig
    with step("chart installed, all Ready"):
        binaries.ensure(release.PROGRAMS, say)
        release.install(kubeconfig, release.values(images.built()))
    with step("functions ocr and vad applied, at zero"):
        prepare(kubeconfig)
    with release.way_in(kubeconfig) as way_in:
        recognise_text(kubeconfig, way_in)
        find_speech(kubeconfig, way_in)
    title("What the cluster says")
    for line in kubectl(kubeconfig, "get", "gpufunctions,functionnodes", f"--namespace={NAMESPACE}").splitlines():
        out.print(f"   {escape(line)}")
    out.print(f"\nDone in {time.monotonic() - began:.0f} s. The cluster stays up. Try next:")
    for line in (
        f"export KUBECONFIG={kubeconfig}",
        f"kubectl -n {NAMESPACE} get pods -w                # replicas go after a minute without calls",
        f"kubectl -n {NAMESPACE} describe gpufn ocr",
        f"kubectl -n {release.NAMESPACE} exec ds/stoker-simulated-gpus -- python -m gpus show",
        "make cluster-down                         # removes it and every trace",
    ):
        out.print(f"   {escape(line)}")
    return 0


def bring_up(options: argparse.Namespace, wanted: layout.Layout) -> None:
    kind = os.environ.get("CLUSTER") == "kind"
    if not kind and not start.runs(wanted) and (lack := prerequisites.lacking()) is not None:
        raise ClusterError(f"demo: {lack}")
    images.build_all(NEEDS, say, registry=None, tag="dev")
    index = [] if options.index is None else [f"--index={options.index}"]
    if cluster(["up", f"--name={options.name}", *index]) != 0:
        raise ClusterError("demo: the cluster did not come up; the line above says why")


def prepare(kubeconfig: Path) -> None:
    """Both functions anew, so that the first call finds none of their replicas."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    apply(kubeconfig, [namespace])
    within = f"--namespace={NAMESPACE}"
    kubectl(kubeconfig, "delete", "gpufunctions", "--all", within, "--cascade=foreground", timeout_s=90)
    for name in ("ocr", "vad"):
        document = yaml.safe_load((EXAMPLES / "kubernetes" / f"{name}.yaml").read_text())
        document["metadata"]["namespace"] = NAMESPACE
        apply(kubeconfig, [document])
    calling.start_pod(kubeconfig, NAMESPACE)
    for name in ("ocr", "vad"):
        wait = ("wait", within, "--for=condition=Ready", f"gpufunction/{name}", f"--timeout={_READY_S:.0f}s")
        kubectl(kubeconfig, *wait)


def recognise_text(kubeconfig: Path, way_in: tuple[str, int]) -> None:
    title("Text recognition (examples/ocr): a photographed page, models of rapidocr")
    answer = cold_and_warm(kubeconfig, way_in, "ocr", EXAMPLES / "ocr" / "page.png")
    for line in answer.value["lines"]:
        out.print(f"   {line['confidence']:.2f}  {escape(line['text'])}")


def find_speech(kubeconfig: Path, way_in: tuple[str, int]) -> None:
    title("Speech activity (examples/vad): a human reader, model of silero-vad")
    answer = cold_and_warm(kubeconfig, way_in, "vad", EXAMPLES / "vad" / "speech.wav")
    segments = ", ".join(f"{segment['start_s']:.2f}-{segment['end_s']:.2f} s" for segment in answer.value["segments"])
    out.print(f"   speech at {segments}; {answer.value['speechRatio']:.0%} of the recording")


def cold_and_warm(kubeconfig: Path, way_in: tuple[str, int], name: str, sample: Path) -> Answer:
    url, body = url_of(kubeconfig, name), sample.read_bytes()
    out.print(f"   {url}")
    show("cold, from a pod", calling.from_pod(kubeconfig, NAMESPACE, url, body))
    show("warm, from a pod", calling.from_pod(kubeconfig, NAMESPACE, url, body))
    warm = [calling.from_outside(way_in, url, body) for _ in range(_WARM_CALLS)]
    fastest = min(warm, key=lambda answer: answer.seconds)
    show(f"warm, from outside, best of {_WARM_CALLS}", fastest)
    out.print(f"   on {fastest.headers['stoker-device']}; the arithmetic is the CPU's")
    return fastest


def show(what: str, answer: Answer) -> None:
    timing = answer.headers.get("server-timing", "none")
    out.print(f"   {what:29} {answer.status} in {answer.seconds * 1000:6.0f} ms   Server-Timing: {timing}")


def url_of(kubeconfig: Path, name: str) -> str:
    """The URL as the function's own status gives it."""
    found: dict[str, Any] = json.loads(
        kubectl(kubeconfig, "get", "gpufunction", name, f"--namespace={NAMESPACE}", "--output=json")
    )
    return str(found["status"]["url"])


@contextmanager
def step(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    out.print(f"[bold]{time.monotonic() - began:6.1f} s  {what}[/bold]")


def say(line: str) -> None:
    print(f"cluster: {line}", flush=True)


def title(text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
