"""Which function a request is for: by its Host, else by its path. Knows names only, no state.

`FUNCTION.NAMESPACE[.svc[.CLUSTER_DOMAIN]]` as Host, or one of its own hostnames, means the whole path is the
function's. Every other host (an address, localhost, the gateway's own names) is routed by the path
`/NAMESPACE/FUNCTION/...`, whose prefix is stripped. Names are compared as they were sent: no decoding, no dot
segments, so nothing is routed by one reading and served by another.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from stoker.reasons import Reason


class Route(Struct, frozen=True):
    """The function, and what it sees as request target (path and query, always with a leading slash)."""

    key: str
    target: str


class NoRoute(Struct, frozen=True):
    """Why there is none."""

    reason: Reason
    detail: str


class RoutingTable:
    """The names of all functions. Rebuilt when they change.

    `hostnames` are own hostnames by function key; `by_path` says of any other host whether it is one of the gateway's,
    so that a stranger's (whose hostname was taken away, say) opens no way to every function.
    """

    def __init__(
        self,
        keys: Iterable[str] = (),
        cluster_domain: str = "cluster.local",
        *,
        hostnames: Mapping[str, str] | None = None,
        by_path: Callable[[str], bool] | None = None,
    ) -> None:
        self._keys = frozenset(keys)
        self._own = {name: key for name, key in (hostnames or {}).items() if key in self._keys}
        self._is_ours = by_path
        self._suffixes = (f".svc.{cluster_domain}", ".svc")
        self._full_suffix = self._suffixes[0]
        self._namespaces_of: dict[str, list[str]] = {}
        self._by_host: dict[str, str] = {}
        for key in sorted(self._keys):
            namespace, name = key.split("/")
            self._namespaces_of.setdefault(name, []).append(namespace)
            self._by_host[f"{name}.{namespace}"] = key

    def route(self, host: str, target: str) -> Route | NoRoute:
        """Where a request goes. `host` is the Host header without its port; `target` starts with a slash."""
        host = host.rstrip(".").lower()
        service = host
        for suffix in self._suffixes:
            if host.endswith(suffix):
                service = host.removesuffix(suffix)
                break
        key = self._by_host.get(service) or self._own.get(host)
        if key is not None:
            return Route(key, target)
        if service != "localhost" and service in self._namespaces_of:
            return NoRoute(Reason.MISDIRECTED, self._full_names(service, target))
        if self._is_ours is not None and not self._is_ours(host):
            return NoRoute(Reason.FUNCTION_NOT_FOUND, f"No function has the hostname {host!r}.")
        # By path even where the host ends in .svc: the gateway's own service name does, and it is not known here.
        route = self._by_path(target)
        if isinstance(route, NoRoute) and service is not host:
            return NoRoute(Reason.FUNCTION_NOT_FOUND, f"No function is named by the host {host!r}.")
        return route

    def _by_path(self, target: str) -> Route | NoRoute:
        path, question, query = target.partition("?")
        parts = path.split("/", 3)
        if len(parts) < 3 or not parts[1] or not parts[2]:
            return NoRoute(
                Reason.FUNCTION_NOT_FOUND, "The path names no function; call /NAMESPACE/FUNCTION/ or set its host name."
            )
        key = f"{parts[1]}/{parts[2]}"
        if key not in self._keys:
            return NoRoute(
                Reason.FUNCTION_NOT_FOUND, f"There is no function {parts[2][:63]!r} in namespace {parts[1][:63]!r}."
            )
        rest = parts[3] if len(parts) == 4 else ""
        return Route(key, f"/{rest}{question}{query}")

    def _full_names(self, name: str, target: str) -> str:
        path = target.partition("?")[0]
        urls = " or ".join(f"http://{name}.{n}{self._full_suffix}{path}" for n in self._namespaces_of[name][:5])
        return f"The host {name!r} lacks its namespace; call {urls}"


def host_name(value: str) -> str:
    """The Host header's name without its port: `a.b:80` -> `a.b`, `[::1]:80` -> `[::1]`."""
    if value.startswith("["):
        return value.partition("]")[0] + "]"
    return value.partition(":")[0]
