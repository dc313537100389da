"""`helm test`: is everything of this release ready, and does the gateway answer? Standard library only.

check.py GATEWAY-HOST (deployments|daemonsets)/NAME...
"""

# ruff: noqa: INP001, S310, T201, TID251  a script of its own in a pod

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE_S = 90.0
_DIRECT = urllib.request.ProxyHandler({})


def of_api(path: str) -> Any:
    """What the API server says."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    url = f"https://[{host}]:{port}{path}" if ":" in host else f"https://{host}:{port}{path}"
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}"}
    context = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
    opener = urllib.request.build_opener(_DIRECT, urllib.request.HTTPSHandler(context=context))
    with opener.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return json.load(answer)


def not_ready(namespace: str, workload: str) -> str:
    """Why, or nothing."""
    return unready(workload, of_api(f"/apis/apps/v1/namespaces/{namespace}/{workload}"))


def unready(workload: str, found: dict[str, Any]) -> str:
    """Why, or nothing: all its pods are to be of the newest version, and ready, and no old one is left. What its
    controller has not looked at yet is not ready.
    """
    status, spec = found.get("status", {}), found["spec"]
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return f"{workload} has just been changed"
    of_nodes = found.get("kind") == "DaemonSet"
    wanted = status.get("desiredNumberScheduled", 0) if of_nodes else spec.get("replicas", 1)
    newest = status.get("updatedNumberScheduled" if of_nodes else "updatedReplicas", 0)
    ready = status.get("numberReady" if of_nodes else "readyReplicas", 0)
    if newest < wanted:
        return f"{newest} of {wanted} pods of {workload} are of the newest version"
    there = wanted if of_nodes else status.get("replicas", 0)
    if there > wanted:
        return f"{there} pods of {workload} are there and {wanted} are wanted"
    return f"{ready} of {wanted} pods of {workload} are ready" if ready < wanted else ""


def silent(gateway: str) -> str:
    """Why the gateway does not answer, or nothing. It names every request, also one to no function."""
    try:
        with urllib.request.build_opener(_DIRECT).open(f"http://{gateway}/", timeout=10) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        headers = error.headers
    return "" if headers.get("Stoker-Request-Id") else f"http://{gateway}/ is answered by somebody else"


def problems(namespace: str, gateway: str, workloads: list[str]) -> Iterator[str]:
    """What is not as it should be, a sentence each."""
    for what in (*workloads, gateway):
        try:
            problem = silent(gateway) if what == gateway else not_ready(namespace, what)
        except (OSError, ValueError, KeyError) as error:
            problem = f"{what} could not be asked: {error}"
        if problem:
            yield problem


def main(gateway: str, workloads: list[str]) -> int:
    """Patient: a release that was just installed is not ready yet."""
    namespace = (ACCOUNT / "namespace").read_text().strip()
    until = time.monotonic() + PATIENCE_S
    while found := list(problems(namespace, gateway, workloads)):
        if time.monotonic() > until:
            print("\n".join(found), file=sys.stderr)
            return 1
        time.sleep(2)
    print(f"Stoker is ready, and http://{gateway}/ answers.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
