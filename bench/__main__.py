"""`make bench`: what the platform adds to a call, how many calls one core carries, what a refusal costs.

Figures, not tests: nothing here passes or fails. All targets are measured in alternating rounds of one run, because
machines are noisy and only ratios within a run mean much: the replica called directly, nginx `proxy_pass` before it
(the limit), Stoker, Stoker with mTLS between gateway and agent, and Ray Serve in three forms (bench.ray_serve). The
replica of all but Ray is nginx as well, so that it is never what is measured. The proxy under test is pinned to one
core, replica and load generator share the other.

Needs Debian's nginx-light and wrk, and for Ray Serve a registry of Python packages (once).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from bench.cluster.machine import machine
from bench.ray_serve import NoRay, RayServe, environment
from bench.refusals import BUDGET_US, Refusals, Refusing
from bench.tables import bodies_table, events_table, median, memory_table, refusals_table
from bench.targets import ORIGIN_CPU, PROXY_CPU, Direct, NginxProxy, Stoker, Target, resident_mib
from bench.timers import hold_lateness_ms
from bench.works import WORKS, Bodies, Work

RAY = "ray serve"
Everything = dict[str, dict[str, dict[str, list[float]]]]
"""By work, target and figure: its value in each round."""


def measure(targets: Sequence[Target], works: Sequence[Work], rounds: int, seconds: int, folder: Path) -> Everything:
    found: Everything = {work.name: {target.name: {} for target in targets} for work in works}
    for number in range(rounds):
        for target in targets:
            print(f"  round {number + 1}/{rounds}: {target.name}", file=sys.stderr)
            target.begin()
            for work in works:
                for figure, value in work.measure(target, seconds, folder).items():
                    found[work.name][target.name].setdefault(figure, []).append(value)
            target.end()
    return found


def refuse(target: Stoker, rounds: int, seconds: int) -> list[Refusals]:
    with Refusing(target) as refusing:
        return [refusing.measure(reason, seconds) for _ in range(rounds) for reason in BUDGET_US]


def ratios(figures: dict[str, dict[str, list[float]]]) -> list[str]:
    """Requests per second beside the others', within each round."""
    mine = figures["stoker"]["requests_per_s"]
    return [
        f"stoker / {name}, small requests/s: {median([a / b for a, b in zip(mine, values, strict=True)]):.3f}"
        for name, values in ((name, series["requests_per_s"]) for name, series in figures.items())
        if name not in ("direct", "stoker")
    ]


def with_ray(stack: ExitStack, root: Path) -> list[RayServe]:
    try:
        python = environment()
    except NoRay as why:
        print(why, file=sys.stderr)
        return []
    rays = [
        RayServe(root / "r1", RAY, python, replica_cpu=PROXY_CPU),
        RayServe(root / "r2", f"{RAY}, its replica on the other core", python, replica_cpu=ORIGIN_CPU),
        RayServe(root / "r3", f"{RAY}, its HAProxy", python, replica_cpu=PROXY_CPU, haproxy=True),
    ]
    for ray in rays:
        stack.enter_context(ray)
        ray.end()
    return rays


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--work", action="append", choices=[work.name for work in WORKS], help="only this; may repeat")
    parser.add_argument("--no-ray", action="store_true", help="leave out Ray Serve")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for tool in ("nginx", "wrk"):
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            sys.exit(f"make bench needs {tool}; on Debian: apt-get install nginx-light wrk")
    works = [work for work in WORKS if not arguments.work or work.name in arguments.work]
    told = machine()
    with tempfile.TemporaryDirectory(prefix="sb-") as folder, ExitStack() as stack:
        root = Path(folder)
        direct = stack.enter_context(Direct(root / "direct"))
        proxy = stack.enter_context(NginxProxy(root / "nginx", direct))
        plain = stack.enter_context(Stoker(root / "plain", "stoker"))
        mtls = stack.enter_context(Stoker(root / "mtls", "stoker, mTLS inside", "--mtls"))
        targets: list[Target] = [direct, proxy, plain, mtls]
        if not arguments.no_ray:
            targets += with_ray(stack, root)
        figures = measure(targets, works, arguments.rounds, arguments.seconds, root)
        memory = {target.name: resident_mib(target.pids) for target in targets}
        refusals = refuse(plain, arguments.rounds, arguments.seconds)
        late = hold_lateness_ms(plain)
    print(
        f"{told}; medians of {arguments.rounds} alternating rounds of {arguments.seconds} s; "
        "latency: 1 connection, throughput: 32, with 1 MiB 4"
    )
    for work in works:
        table = bodies_table if isinstance(work, Bodies) else events_table
        print(f"\n{work.name}:\n\n{table(figures[work.name])}")
    print(f"\n{memory_table(memory)}\n\n{refusals_table(refusals)}\n")
    if "small" in figures:
        print("\n".join(ratios(figures["small"])))
    print(
        f"504 after the timeout of a held request, {len(late)} requests: "
        f"p50 {median(late):.1f} ms late, worst {max(late):.1f} ms late"
    )
    if arguments.json:
        result = {
            "machine": told,
            "figures": figures,
            "memory_mib": memory,
            "refusals": [asdict(each) for each in refusals],
            "hold_lateness_ms": late,
        }
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
