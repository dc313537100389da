"""Reads a kubeconfig: one context of it, with a certificate or a token.

What would need a program, a proxy or trust in anybody is refused with a sentence instead of being half supported.
"""

import base64
import binascii
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import Struct, field

from stoker_runtime.kube.config import KubeConfig, Pem
from stoker_runtime.kube.errors import BadKubeConfig


class _Cluster(Struct, frozen=True, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _User(Struct, frozen=True, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = field(default="", name="tokenFile")
    username: str = ""
    exec: Any = None
    auth_provider: Any = None
    impersonate: str = field(default="", name="as")


class _Context(Struct, frozen=True, rename="kebab"):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(Struct, frozen=True):
    name: str
    cluster: _Cluster


class _NamedUser(Struct, frozen=True):
    name: str
    user: _User


class _NamedContext(Struct, frozen=True):
    name: str
    context: _Context


class _File(Struct, frozen=True, rename="kebab"):
    current_context: str = ""
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


N = TypeVar("N", _NamedCluster, _NamedUser, _NamedContext)


def load_kubeconfig(path: Path, context: str = "") -> KubeConfig:
    """One context of a kubeconfig, the current one by default. Raises BadKubeConfig."""
    try:
        content = msgspec.convert(yaml.safe_load(path.read_bytes()), _File)
    except OSError as exc:
        raise BadKubeConfig(f"The kubeconfig {path} cannot be read: {exc.strerror or exc}.") from exc
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as exc:
        # Only the first line: what follows quotes the file, and so perhaps a token.
        first = str(exc).partition("\n")[0]
        raise BadKubeConfig(f"{path} is not a kubeconfig: {first}.") from exc
    name = context or content.current_context
    if not name:
        raise BadKubeConfig(f"The kubeconfig {path} has no current-context: set STOKER_KUBE_CONTEXT to one of its own.")
    chosen = _named(content.contexts, name, "context", path).context
    cluster = _named(content.clusters, chosen.cluster, "cluster", path).cluster
    user = _named(content.users, chosen.user, "user", path).user if chosen.user else _User()
    _refuse_unsupported(cluster, user, chosen, path)
    certificate = _pem(user.client_certificate, user.client_certificate_data, "client-certificate", path)
    key = _pem(user.client_key, user.client_key_data, "client-key", path)
    if (certificate is None) != (key is None):
        raise BadKubeConfig(f"User {chosen.user} of {path} has a client certificate or its key, and needs both.")
    return KubeConfig(
        server=cluster.server.rstrip("/"),
        namespace=chosen.namespace or "default",
        authority=_pem(
            cluster.certificate_authority, cluster.certificate_authority_data, "certificate-authority", path
        ),
        client_certificate=certificate,
        client_key=key,
        token=user.token,
        token_file=path.parent / user.token_file if user.token_file else None,
        tls_server_name=cluster.tls_server_name,
    )


def _named(entries: list[N] | None, name: str, what: str, path: Path) -> N:
    for entry in entries or ():
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in entries or ()) or "none"
    raise BadKubeConfig(f"The kubeconfig {path} has no {what} named {name or '(empty)'}; it has: {known}.")


def _refuse_unsupported(cluster: _Cluster, user: _User, context: _Context, path: Path) -> None:
    if not cluster.server.startswith(("https://", "http://")):
        raise BadKubeConfig(f"Cluster {context.cluster} of {path} has no server address like https://HOST:PORT.")
    if cluster.insecure_skip_tls_verify:
        raise BadKubeConfig(
            f"Cluster {context.cluster} of {path} says insecure-skip-tls-verify, which would hand our credentials to "
            "anybody on the way: put its certificate-authority-data there instead."
        )
    if cluster.proxy_url:
        raise BadKubeConfig(f"Cluster {context.cluster} of {path} has a proxy-url: Stoker connects directly only.")
    if user.exec is not None or user.auth_provider is not None:
        raise BadKubeConfig(
            f"User {context.user} of {path} gets credentials from a plugin, which Stoker does not run: put a token "
            "there (kubectl create token NAME) or a client certificate."
        )
    if user.username:
        raise BadKubeConfig(f"User {context.user} of {path} has a password, which Kubernetes no longer takes.")
    if user.impersonate:
        raise BadKubeConfig(f"User {context.user} of {path} impersonates {user.impersonate}, which Stoker never does.")


def _pem(file: str, data: str, what: str, path: Path) -> Pem:
    if data:  # wins over the file, as with kubectl
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as exc:
            raise BadKubeConfig(f"{what}-data in {path} is not base64.") from exc
    return path.parent / file if file else None
