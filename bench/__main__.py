"""`make bench`: what the platform adds to a call, how many calls one core carries, how punctual its timers are.

Figures, not tests: nothing here passes or fails. Four targets are measured in alternating rounds of one run,
because machines are noisy and only ratios within a run mean much: the replica called directly, nginx `proxy_pass`
before it (the limit), Stoker, and Stoker with mTLS between gateway and agent. The replica is nginx as well, so that
it is never what is measured. The proxy under test is pinned to one core, replica and load generator share the other.

Needs Debian's nginx-light and wrk.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from bench.load import Load, closed_loop, one_at_a_time
from bench.targets import Nginx, Stoker, Target, cpu_seconds, resident_mib
from bench.timers import hold_lateness_ms


def median(values: list[float]) -> float:
    return statistics.median(values)


def measure(targets: list[Target], rounds: int, seconds: int) -> dict[str, dict[str, list[float]]]:
    figures: dict[str, dict[str, list[float]]] = {target.name: {} for target in targets}
    for number in range(rounds):
        for target in targets:
            print(f"  round {number + 1}/{rounds}: {target.name}", file=sys.stderr)
            slow: Load = one_at_a_time(target.url, seconds)
            before = cpu_seconds(target.pids)
            fast: Load = closed_loop(target.url, connections=32, seconds=seconds)
            cpu = cpu_seconds(target.pids) - before
            for key, value in {
                "p50_ms": slow.p50_ms,
                "p99_ms": slow.p99_ms,
                "requests_per_s": fast.requests_per_s,
                "cpu_us_per_request": cpu * 1e6 / max(1, fast.requests),
                "busy_p99_ms": fast.p99_ms,
                "errors": float(fast.errors + slow.errors),
            }.items():
                figures[target.name].setdefault(key, []).append(value)
    return figures


def table(figures: dict[str, dict[str, list[float]]], memory: dict[str, int]) -> str:
    direct = figures["direct"]
    lines = [
        "| target | p50 ms | added p50 | p99 ms | added p99 | requests/s | CPU us/request | RSS MiB | errors |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, values in figures.items():
        added50 = median([a - b for a, b in zip(values["p50_ms"], direct["p50_ms"], strict=True)])
        added99 = median([a - b for a, b in zip(values["p99_ms"], direct["p99_ms"], strict=True)])
        lines.append(
            f"| {name} | {median(values['p50_ms']):.3f} | {added50:+.3f} "
            f"| {median(values['p99_ms']):.3f} | {added99:+.3f} "
            f"| {median(values['requests_per_s']):.0f} | {median(values['cpu_us_per_request']):.0f} "
            f"| {memory.get(name, 0) or '-'} | {sum(values['errors']):.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for tool in ("nginx", "wrk"):
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            sys.exit(f"make bench needs {tool}; on Debian: apt-get install nginx-light wrk")
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        root = Path(folder)
        with (
            Nginx(root / "replica", "direct", cpu=1) as direct,
            Nginx(root / "proxy", "nginx proxy_pass", cpu=0, upstream=direct.url) as proxy,
            Stoker(root / "plain", "stoker", cpu=0) as plain,
            Stoker(root / "mtls", "stoker, mTLS inside", cpu=0, arguments=("--mtls",)) as mtls,
        ):
            targets: list[Target] = [direct, proxy, plain, mtls]
            figures = measure(targets, arguments.rounds, arguments.seconds)
            memory = {target.name: resident_mib(target.pids) for target in targets}
            late = hold_lateness_ms(plain)
    cores = os.cpu_count()
    print(
        f"{cores} cores, Python {sys.version.split()[0]}; medians of {arguments.rounds} alternating rounds; "
        "latency: 1 connection, throughput: 32"
    )
    print(table(figures, memory))
    ratio = median(figures["stoker"]["requests_per_s"]) / median(figures["nginx proxy_pass"]["requests_per_s"])
    print(f"stoker / nginx proxy_pass, requests/s: {ratio:.3f}")
    print(
        f"504 after the timeout of a held request, {len(late)} requests: "
        f"p50 {median(late):.1f} ms late, worst {max(late):.1f} ms late"
    )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"figures": figures, "memory_mib": memory, "hold_lateness_ms": late}, indent=1)
        )


if __name__ == "__main__":
    main()
