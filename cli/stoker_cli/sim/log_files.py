"""Event logs as files: plain, or compressed as `FILE.gz`; what is wrong with one is said in one sentence."""

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from stoker.replay.lines import BadLog
from stoker_cli.console import CommandFailed

T = TypeVar("T")


def read_log(path: Path, read: Callable[[Iterable[bytes]], T]) -> T:
    """What `read` makes of the lines. Raises CommandFailed with the line and the reason."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            return read(lines)
    except BadLog as error:
        raise CommandFailed(f"{path}, {error}.") from error
    except (OSError, EOFError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CommandFailed(f"{path} cannot be read: {why.lower()}.") from error
