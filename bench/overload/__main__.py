"""`python -m bench.overload NAME [OPTIONS]`: one experiment, or all of them (`make bench-overload`); then the page.

They take minutes each and want a quiet machine with two cores. `page` makes the page of what was measured before.
"""

import importlib
import signal
import subprocess
import sys

from bench.overload.page import write_page
from bench.overload.report import NAMES
from bench.overload.settings import parsed


def every(arguments: list[str]) -> int:
    """Each in a process of its own; how many failed."""
    failed = 0
    for name in NAMES:
        print(f"\n## {name}", flush=True)
        argv = [sys.executable, "-m", "bench.overload", name, *arguments]
        failed += subprocess.run(argv, check=False).returncode != 0
    return failed


def main(arguments: list[str]) -> None:
    # What was started is ended, also when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    name, options = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name == "all":
        sys.exit(every(options))
    if name in NAMES:
        importlib.import_module(f"bench.overload.{name}").main(options)
    elif name != "page":
        sys.exit(f"usage: python -m bench.overload NAME [--help]; NAME is all, page or one of {', '.join(NAMES)}")
    write_page(parsed(name, options).results)


if __name__ == "__main__":
    main(sys.argv[1:])
