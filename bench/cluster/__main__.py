"""`python -m bench.cluster NAME [OPTIONS]`: one measurement on Kubernetes; `all` (`make bench-cluster`) takes each.

They take minutes each, want a quiet machine, and the programs of `make cluster`.
"""

import importlib
import signal
import subprocess
import sys

NAMES = {
    "operator": "bench.cluster.operator_scale",
    "ledger": "bench.cluster.ledger_writes",
    "burst": "bench.cluster.burst",
    "extender": "bench.cluster.extender_calls",
    "cold-start": "bench.cluster.cold_start",
    "idle": "bench.cluster.idle_cost",
}
ALL = ("operator", "ledger", "burst", "extender", "cold-start")
"""cold-start tells the idle cost before it begins."""


def every() -> int:
    """Each in a process of its own, so that none measures what another has left in memory; how many failed."""
    failed = 0
    for name in ALL:
        print(f"\n## {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", "bench.cluster", name], check=False).returncode != 0
    return failed


def main(arguments: list[str]) -> None:
    # What was started is ended, also when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if arguments == ["all"]:
        sys.exit(every())
    if not arguments or arguments[0] not in NAMES:
        sys.exit(f"usage: python -m bench.cluster NAME [--help]; NAME is all or one of {', '.join(NAMES)}")
    importlib.import_module(NAMES[arguments[0]]).main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
