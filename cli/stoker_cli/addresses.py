"""Addresses for people: what a client can use, and one sentence for one that cannot be had."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from stoker_cli.console import CommandFailed


def reachable(host: str) -> str:
    """The host as a client on this machine writes it in a URL."""
    if host == "0.0.0.0":  # noqa: S104  shown, not bound
        return "127.0.0.1"
    if host == "::":  # IPv6 only, as the loop binds it
        return "[::1]"
    return f"[{host}]" if ":" in host else host


@contextmanager
def binding(host: str, port: int, advice: str) -> Iterator[None]:
    """Turn what binding raises into a CommandFailed that ends in `advice`."""
    try:
        yield
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            raise CommandFailed(
                f"Port {port} of {host} is taken by another program; choose another by {advice}."
            ) from err
        # asyncio wraps the reason in a sentence of its own; resolver errors have negative numbers and a text.
        why = os.strerror(err.errno) if err.errno is not None and err.errno > 0 else err.strerror or str(err)
        raise CommandFailed(
            f"Cannot listen on {host or 'an empty host name'}, port {port}: {why.lower()}; "
            f"choose another by --host or {advice}."
        ) from err


def check_free(host: str, port: int, advice: str) -> None:
    """Raise CommandFailed for an address that cannot be had now. Blocks while a host name is looked up.

    Asked before anything else is done, so that the mistake is the one line that a user sees; binding still decides.
    """
    with binding(host, port, advice):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
