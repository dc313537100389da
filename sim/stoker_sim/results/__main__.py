"""`python -m stoker_sim.results [NAME ...]`: make published results again and write their pages.

Results know nothing of each other, so that several of these processes may run at the same time; the index is written
by one that is asked for it, from what is in the folder.
"""

import argparse
import sys
from pathlib import Path

from stoker.errors import StokerError
from stoker_sim.results.pages import write, write_index
from stoker_sim.results.registry import RESULTS, make_result

FOLDER = Path("docs/results")


def main() -> int:
    """Exit code 2 for a name that is not there."""
    parser = argparse.ArgumentParser(prog="python -m stoker_sim.results", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RESULTS)}")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--index", action="store_true", help="write the index of all that is in the folder")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pages (%(default)s)")
    given = parser.parse_args()
    if given.list:
        sys.stdout.writelines(f"{name}\n" for name in RESULTS)
        return 0
    try:
        wanted = [make_result(name) for name in given.names]
    except StokerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for make in wanted:
        for path in write(make(), given.out):
            sys.stdout.write(f"{path}\n")
    if given.index:
        sys.stdout.write(f"{write_index(given.out, tuple(RESULTS))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
