"""`python -m stoker_sim.results [NAME ...]`: make published results again and write their pages, and the index."""

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
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RESULTS)}; none: only the index")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pages (%(default)s)")
    given = parser.parse_args()
    try:
        made = [make_result(name) for name in given.names]
    except StokerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for make in made:
        for path in write(make(), given.out):
            sys.stdout.write(f"{path}\n")
    sys.stdout.write(f"{write_index(given.out, tuple(RESULTS))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
