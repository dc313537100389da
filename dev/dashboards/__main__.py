"""Writes every dashboard into a folder: `PYTHONPATH=dev python -m dashboards charts/stoker/dashboards`."""

import sys
from pathlib import Path

from dashboards import fleet
from dashboards.panels import text

DASHBOARDS = {"fleet.json": fleet.dashboard}


def files() -> dict[str, str]:
    """The text of each file."""
    return {name: text(make()) for name, make in DASHBOARDS.items()}


def main() -> int:
    """The command."""
    if len(sys.argv) != 2:
        print("usage: python -m dashboards FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / name).write_text(content)
        print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
