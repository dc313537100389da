"""`python -m bench.cluster NAME [OPTIONS]`: one measurement on Kubernetes.

They take minutes, and want a quiet machine.
"""

import importlib
import signal
import sys

NAMES = {
    "operator": "bench.cluster.operator_scale",
    "ledger": "bench.cluster.ledger_writes",
    "burst": "bench.cluster.burst",
    "extender": "bench.cluster.extender_calls",
    "cold-start": "bench.cluster.cold_start",
    "idle": "bench.cluster.idle_cost",
}


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] not in NAMES:
        sys.exit(f"usage: python -m bench.cluster NAME [--help]; NAME is one of {', '.join(NAMES)}")
    # What was started is ended, also when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    importlib.import_module(NAMES[arguments[0]]).main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
