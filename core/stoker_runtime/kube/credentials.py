"""The token and the TLS context of requests, renewed while the process runs.

The kubelet and other renewers replace files by rename or by switching a symlink: a changed stat means a new
content. Asking the kernel costs two microseconds, so it is asked before every request.
"""

import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from stoker_runtime.kube.config import KubeConfig, Pem
from stoker_runtime.kube.errors import BadKubeConfig

log = structlog.get_logger(__name__)

REREAD_S = 60.0
"""Seconds after which a token file is read again even if it looks the same: some file systems stamp coarsely."""

_Print = tuple[int, int, int]


class Credentials:
    """What one process shows to one API server. Not for use from two threads."""

    def __init__(self, config: KubeConfig, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock_s = clock_s
        self._token = config.token
        self._token_print: _Print | None = None
        self._token_read_s = float("-inf")
        self._context: ssl.SSLContext | None = None
        self._context_prints: tuple[_Print | None, ...] = ()

    def authorization(self) -> str:
        """Value of the Authorization header; empty where a certificate says who we are. Raises BadKubeConfig."""
        path = self._config.token_file
        if path is not None:
            current = _print(path)
            # A file that is gone for a moment leaves what we have.
            if (current is not None and current != self._token_print) or self._old():
                self._read_token(path, current)
        return f"Bearer {self._token}" if self._token else ""

    def refused(self) -> bool:
        """The server answered 401: read the token now. True when that gave another one, so a retry makes sense."""
        path = self._config.token_file
        if path is None:
            return False
        before = self._token
        self._read_token(path, _print(path))
        return self._token != before

    def tls(self) -> ssl.SSLContext | None:
        """The context for the next connection, made anew when one of its files changed; None for plain HTTP."""
        config = self._config
        if config.server.startswith("http://"):
            return None
        materials = (config.authority, config.client_certificate, config.client_key)
        prints = tuple(_print(item) if isinstance(item, Path) else None for item in materials)
        if self._context is None or prints != self._context_prints:
            try:
                self._context = _context(config)
            except (OSError, ssl.SSLError, ValueError) as exc:
                if self._context is None:
                    raise BadKubeConfig(
                        f"The certificates for {config.server} cannot be used: {exc}. Check the authority and the "
                        "client certificate with its key."
                    ) from exc
                # Half replaced: certificate and key do not fit yet. The old ones serve until they do.
                log.warning("kube_certificates_unusable", error=str(exc))
                return self._context
            self._context_prints = prints
        return self._context

    def _old(self) -> bool:
        return self._clock_s() - self._token_read_s >= REREAD_S

    def _read_token(self, path: Path, current: _Print | None) -> None:
        try:
            token = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            if not self._token:
                raise BadKubeConfig(f"The token file {path} cannot be read: {exc}.") from exc
            log.warning("kube_token_unreadable", path=str(path), error=str(exc))
            token = ""
        if token:  # an empty file is one that is being written
            self._token = token
        elif not self._token:
            raise BadKubeConfig(f"The token file {path} is empty.")
        self._token_print = current
        self._token_read_s = self._clock_s()


def _print(path: Path) -> _Print | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _context(config: KubeConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority = _bytes(config.authority)
    if authority is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authority.decode("ascii"))
    certificate, key = _bytes(config.client_certificate), _bytes(config.client_key)
    if certificate is not None and key is not None:
        # The ssl module takes a key from a file only: a private folder, gone before this returns.
        with tempfile.TemporaryDirectory(prefix="stoker-tls-") as folder:
            chain = Path(folder) / "chain.pem"
            chain.touch(mode=0o600)
            chain.write_bytes(certificate.rstrip() + b"\n" + key)
            context.load_cert_chain(chain)
    return context


def _bytes(material: Pem) -> bytes | None:
    return material.read_bytes() if isinstance(material, Path) else material
