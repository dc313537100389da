"""What a request costs before the platform does anything: `python -m bench.floor`, by the forms of bench.floor_server.

CPU of the process for each request, with 32 connections, on one core; the replica (nginx) and the load on the other, in
alternating rounds with nginx `proxy_pass` and with Stoker's own warm request and refusals. Figures, not tests.
"""

import argparse
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.cluster.machine import machine
from bench.floor_server import FORMS, HOST
from bench.load import wrk
from bench.refusals import Refusing
from bench.tables import median
from bench.targets import PROXY_CPU, QUIET, Direct, NginxProxy, Stoker, Target, cpu_seconds, free_port, pinned

CONNECTIONS = 32
_WORDS = {
    "answer": "httptools: one answer made beforehand",
    "aiohttp": "aiohttp's low-level server: the same",
    "hop": "httptools: one hop, nothing looked at",
    "hops": "httptools: two hops with 102, nothing looked at",
}


class Bare(Target):
    """One of the forms of bench.floor_server."""

    def __init__(self, folder: Path, form: str, direct: Direct) -> None:
        folder.mkdir()
        port = self._port = free_port()
        replica = direct.address.rpartition(":")[2]
        argv = [*pinned(PROXY_CPU), sys.executable, "-m", "bench.floor_server", form, str(port), replica]
        super().__init__(folder, _WORDS[form], argv, f"http://127.0.0.1:{port}/", QUIET)

    def until_answered(self, url: str, ceiling_s: float = 60) -> None:  # noqa: ARG002  as Target
        """Until it listens: some of them refuse."""
        deadline = time.monotonic() + ceiling_s
        while True:
            try:
                socket.create_connection((HOST, self._port)).close()
            except OSError as exc:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} does not listen") from exc
                time.sleep(0.05)
            else:
                return


def cost_us(target: Target, url: str, seconds: int) -> float:
    before = cpu_seconds(target.pids)
    load = wrk(url, CONNECTIONS, seconds)
    return (cpu_seconds(target.pids) - before) * 1e6 / max(1, load.requests)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="sb-") as folder, ExitStack() as stack:
        root = Path(folder)
        direct = stack.enter_context(Direct(root / "direct"))
        proxy = stack.enter_context(NginxProxy(root / "nginx", direct))
        bares = [stack.enter_context(Bare(root / form, form, direct)) for form in FORMS]
        stoker = stack.enter_context(Stoker(root / "stoker", "stoker"))
        refusing = stack.enter_context(Refusing(stoker))
        asked: list[tuple[str, Target, str]] = [(target.name, target, target.url) for target in (proxy, *bares)]
        asked.append(("stoker: a warm request", stoker, stoker.url))
        asked += [(f"stoker: {reason}", stoker, url) for reason, url in refusing.urls.items()]
        for number in range(arguments.rounds):
            print(f"  round {number + 1}/{arguments.rounds}", file=sys.stderr)
            for words, target, url in asked:
                found.setdefault(words, []).append(cost_us(target, url, arguments.seconds))
    print(f"{machine()}; medians of {arguments.rounds} alternating rounds of {arguments.seconds} s\n")
    print("| CPU of a request | us | least | times nginx |\n|---|---|---|---|")
    limit = found[proxy.name]
    for words, values in found.items():
        times = median([value / one for value, one in zip(values, limit, strict=True)])
        print(f"| {words} | {median(values):.0f} | {min(values):.0f} | {times:.1f} |")


if __name__ == "__main__":
    main()
