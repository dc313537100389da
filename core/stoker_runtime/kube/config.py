"""Where the API server is and how this process proves who it is: inside a pod, or by a kubeconfig.

Reads once; what changes while the process runs (tokens, authorities) is left as paths for `credentials`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from stoker_runtime.kube.errors import BadKubeConfig

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts token, authority and namespace into a pod."""

Pem = bytes | Path | None
"""PEM text, or the file that holds it and may be renewed, or not given."""


class KubeSettings(Struct, frozen=True, kw_only=True):
    """What a process that speaks to Kubernetes reads besides ProcessSettings."""

    kubeconfig: str = ""
    """Path of a kubeconfig. Empty: the pod's own account where there is one, else $KUBECONFIG, else
    ~/.kube/config."""
    kube_context: str = ""
    """Context of the kubeconfig. Empty: its current one."""


class KubeConfig(Struct, frozen=True, kw_only=True):
    """How to reach one API server."""

    server: str
    """`https://HOST:PORT`, without a slash at its end."""
    namespace: str = "default"
    """The pod's own namespace, or the context's."""
    authority: Pem = None
    """Who may have signed the server's certificate; None trusts the system's authorities."""
    client_certificate: Pem = None
    client_key: Pem = None
    token: str = ""
    token_file: Path | None = None
    """Wins over `token`."""
    tls_server_name: str = ""
    """The name that the server's certificate must have, where it is not the one in `server`."""

    def __repr__(self) -> str:
        # Tokens and keys must not get into a log by way of a repr.
        return f"KubeConfig(server={self.server!r}, namespace={self.namespace!r})"


def load_config(settings: KubeSettings, environ: Mapping[str, str] | None = None) -> KubeConfig:
    """The configuration that the settings choose. Raises BadKubeConfig."""
    env = os.environ if environ is None else environ
    if settings.kubeconfig:
        return _by_file(Path(settings.kubeconfig).expanduser(), settings.kube_context)
    if env.get("KUBERNETES_SERVICE_HOST") and not settings.kube_context:
        return in_cluster(env)
    named = [Path(part).expanduser() for part in env.get("KUBECONFIG", "").split(os.pathsep) if part]
    if len(named) > 1:
        raise BadKubeConfig(
            f"KUBECONFIG names {len(named)} files, which Stoker does not merge: set STOKER_KUBECONFIG to one of them."
        )
    path = named[0] if named else Path(env.get("HOME", "~")).expanduser() / ".kube" / "config"
    if not named and not path.exists():
        raise BadKubeConfig(
            "This process runs in no pod and there is no kubeconfig: set STOKER_KUBECONFIG to the path of one."
        )
    return _by_file(path, settings.kube_context)


def _by_file(path: Path, context: str) -> KubeConfig:
    # PyYAML is imported for kubeconfigs only: in a pod it would cost memory for nothing.
    from stoker_runtime.kube.kubeconfig import load_kubeconfig  # noqa: PLC0415

    return load_kubeconfig(path, context)


def in_cluster(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> KubeConfig:
    """The pod's own account, from what the kubelet gives every pod that mounts a token. Raises BadKubeConfig."""
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "") or "443"
    if not host:
        raise BadKubeConfig("KUBERNETES_SERVICE_HOST is not set: this process runs in no pod; give it a kubeconfig.")
    token, authority = folder / "token", folder / "ca.crt"
    for path in (token, authority):
        if not path.is_file():
            raise BadKubeConfig(
                f"{path} is missing, so this pod has no account: set automountServiceAccountToken or mount a token."
            )
    try:
        namespace = (folder / "namespace").read_text("utf-8").strip()
    except OSError:
        namespace = ""
    return KubeConfig(
        # An IPv6 address is bracketed in a URL.
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace or "default",
        authority=authority,
        token_file=token,
    )
