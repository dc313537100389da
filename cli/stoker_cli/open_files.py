"""Whether enough files and connections may be open at once for `stoker serve`."""

from stoker_cli.console import CommandFailed
from stoker_runtime.open_files import raise_open_files

LEAST = 256
"""With fewer, the platform itself, its replicas and a few clients do not fit: it would serve by chance."""


def take_open_files() -> None:
    """Take what the hard limit allows. Raises CommandFailed where that is too little to serve."""
    allowed = raise_open_files()
    if allowed is not None and allowed < LEAST:
        raise CommandFailed(
            f"Only {allowed} files and connections may be open at once, and stoker serve needs {LEAST} at least; "
            "raise the hard limit (ulimit -Hn, or LimitNOFILE of the service)."
        )
