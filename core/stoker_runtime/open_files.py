"""How many files and connections this process may have open at once.

Each request takes up to three descriptors; the usual soft limit of 1,024 is for programs that use select().
"""

import contextlib
import resource

WANTED = 65_536


def raise_open_files() -> int | None:
    """Take what the hard limit allows. Returns how many may be open now; None for any number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return None if soft == resource.RLIM_INFINITY else soft
