"""Which host names are the gateway's own, so that they lead to every function by path. Pure.

All that only something inside the cluster (or a port-forward to it) can call, and what the administrator adds. Any
other name came in from outside for one function's own hostname: where that is no longer anybody's, it must not open
the way to all the others.
"""

import re
from collections.abc import Callable

_ADDRESS = re.compile(r"[0-9.]+|\[.*\]")


def own_hosts(namespace: str, cluster_domain: str, further: str = "") -> Callable[[str], bool]:
    """A test of host names, in lower case and without a port. `further` is a list with commas."""
    added = frozenset(name for part in further.split(",") if (name := part.strip().lower().rstrip(".")))
    suffixes = (".svc", f".svc.{cluster_domain}".lower())
    in_namespace = f".{namespace}"

    def is_own(host: str) -> bool:
        return (
            "." not in host  # localhost, a Service's bare name, and what HTTP/1.0 leaves out
            or _ADDRESS.fullmatch(host) is not None
            or host.endswith(suffixes)
            or (host.endswith(in_namespace) and host.count(".") == 1)
            or host in added
        )

    return is_own
