"""`python -m chart`: write what is made. With `--check` say what differs, and end with 1 when something does."""

import sys

from chart.sync import ROOT, differing, write


def main() -> int:
    paths = differing()
    if "--check" in sys.argv[1:]:
        for path in paths:
            print(f"{path.relative_to(ROOT)} is not what its source says: run `PYTHONPATH=dev python -m chart`")
        return 1 if paths else 0
    write()
    for path in paths:
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
