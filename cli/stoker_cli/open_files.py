"""How many files and connections this process may have open at once.

Each request takes up to three descriptors; the usual soft limit of 1,024 is for programs that use select().
"""

import contextlib
import resource

from stoker_cli.console import CommandFailed

WANTED = 65_536
LEAST = 256
"""With fewer, the platform itself, its replicas and a few clients do not fit: it would serve by chance."""


def raise_open_files() -> None:
    """Take what the hard limit allows. Raises CommandFailed where that is too little to serve."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft != resource.RLIM_INFINITY and soft < LEAST:
        raise CommandFailed(
            f"Only {soft} files and connections may be open at once, and stoker serve needs {LEAST} at least; "
            "raise the hard limit (ulimit -Hn, or LimitNOFILE of the service)."
        )
