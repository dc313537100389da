"""Where the API server is and who we are: kubeconfigs, pods, and files that change."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker_runtime.kube.config import KubeConfig, KubeSettings, in_cluster, load_config
from stoker_runtime.kube.credentials import REREAD_S, Credentials
from stoker_runtime.kube.errors import BadKubeConfig
from stoker_runtime.kube.kubeconfig import load_kubeconfig
from stoker_runtime.mtls import make_authority

pytestmark = pytest.mark.unit


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def write(path: Path, *, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": "secret-token"} if user is None else user}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
            {"name": "two", "context": {"cluster": "c", "user": "u"}},
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_kubeconfig_gives_the_current_context_or_the_one_that_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "config", cluster={"certificate-authority-data": b64(b"CA")})
    config = load_kubeconfig(path)
    assert (config.server, config.namespace, config.token) == ("https://10.0.0.1:6443", "team", "secret-token")
    assert config.authority == b"CA"
    assert load_kubeconfig(path, "two").namespace == "default"


def test_files_of_a_kubeconfig_are_found_beside_it_and_data_wins_over_them(tmp_path: Path) -> None:
    user = {"client-certificate": "a.crt", "client-key": "/b.key", "client-key-data": b64(b"KEY"), "tokenFile": "t"}
    config = load_kubeconfig(write(tmp_path / "config", user=user, cluster={"certificate-authority": "ca.crt"}))
    assert config.client_certificate == tmp_path / "a.crt"
    assert config.client_key == b"KEY"
    assert config.authority == tmp_path / "ca.crt"
    assert config.token_file == tmp_path / "t"


def test_no_repr_of_a_configuration_shows_a_secret(tmp_path: Path) -> None:
    assert "secret-token" not in f"{load_kubeconfig(write(tmp_path / 'config'))!r}"


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({"exec": {"command": "aws"}}, {}, "from a plugin, which Stoker does not run"),
        ({"auth-provider": {"name": "gcp"}}, {}, "from a plugin"),
        ({"username": "me", "password": "x"}, {}, "has a password"),
        ({"token": "x", "as": "root"}, {}, "impersonates root"),
        ({"client-certificate-data": b64(b"x")}, {}, "needs both"),
        ({"client-certificate-data": "%%%", "client-key": "k"}, {}, "client-certificate-data in .* is not base64"),
        ({"token": ["no"]}, {}, "is not a kubeconfig"),
        (None, {"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify"),
        (None, {"proxy-url": "http://proxy"}, "proxy-url"),
        (None, {"server": "10.0.0.1"}, "no server address like"),
    ],
)
def test_what_is_not_supported_is_refused_with_one_sentence(
    tmp_path: Path, user: dict[str, Any] | None, cluster: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadKubeConfig, match=said) as caught:
        load_kubeconfig(write(tmp_path / "config", user=user, cluster=cluster))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_context_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BadKubeConfig, match="no context named three; it has: one, two"):
        load_kubeconfig(write(tmp_path / "config"), "three")


@pytest.mark.parametrize("text", ["", "[", "just text", "current-context: x", "a: !!python/object:os.system {}"])
def test_a_file_that_is_no_kubeconfig_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(BadKubeConfig) as caught:
        load_kubeconfig(path)
    assert "\n" not in str(caught.value)


def test_settings_win_over_the_pod_and_the_pod_over_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path / "config")
    pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBECONFIG": str(path)}
    assert load_config(KubeSettings(kubeconfig=str(path)), pod).namespace == "team"
    with pytest.raises(BadKubeConfig, match="this pod has no account"):
        load_config(KubeSettings(), pod)
    assert load_config(KubeSettings(), {"KUBECONFIG": str(path)}).namespace == "team"
    assert load_config(KubeSettings(kube_context="two"), pod).namespace == "default"


def test_home_is_the_last_place_and_nothing_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadKubeConfig, match="runs in no pod and there is no kubeconfig"):
        load_config(KubeSettings(), {"HOME": str(tmp_path)})
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube" / "config")
    assert load_config(KubeSettings(), {"HOME": str(tmp_path)}).token == "secret-token"
    with pytest.raises(BadKubeConfig, match="does not merge"):
        load_config(KubeSettings(), {"KUBECONFIG": f"a{os.pathsep}b"})


def test_a_pod_reads_its_account_and_brackets_an_ipv6_address(tmp_path: Path) -> None:
    for name, text in {"token": "t", "ca.crt": "CA", "namespace": "stoker-system\n"}.items():
        (tmp_path / name).write_text(text)
    config = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    assert config.server == "https://[fd00::1]:6443"
    assert config.namespace == "stoker-system"
    assert config.token_file == tmp_path / "token"
    assert in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path).server == "https://10.0.0.1:443"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def with_token(tmp_path: Path, clock: Clock) -> tuple[Credentials, Path]:
    path = tmp_path / "token"
    path.write_text("first\n")
    return Credentials(KubeConfig(server="https://x", token_file=path), clock), path


def test_a_token_that_is_replaced_is_used_at_the_next_request(tmp_path: Path) -> None:
    credentials, path = with_token(tmp_path, Clock())
    assert credentials.authorization() == "Bearer first"
    new = tmp_path / "new"
    new.write_text("second")
    new.rename(path)
    assert credentials.authorization() == "Bearer second"


def test_a_token_whose_file_looks_the_same_is_read_again_after_a_minute_or_a_401(tmp_path: Path) -> None:
    clock = Clock()
    credentials, path = with_token(tmp_path, clock)
    credentials.authorization()
    stamp = path.stat()

    def rewrite(text: str) -> None:
        with path.open("r+") as file:
            file.write(text)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    rewrite("SECON")
    assert credentials.authorization() == "Bearer first"
    clock.now = REREAD_S
    assert credentials.authorization() == "Bearer SECON"
    rewrite("THIRD")
    assert credentials.refused()
    assert credentials.authorization() == "Bearer THIRD"
    assert not credentials.refused()


def test_a_token_file_that_is_empty_or_gone_for_a_moment_leaves_the_token_that_was(tmp_path: Path) -> None:
    credentials, path = with_token(tmp_path, Clock())
    credentials.authorization()
    path.write_text("")
    assert credentials.authorization() == "Bearer first"
    path.unlink()
    assert credentials.authorization() == "Bearer first"
    assert not credentials.refused()


def test_a_token_file_that_never_was_is_an_error(tmp_path: Path) -> None:
    credentials = Credentials(KubeConfig(server="https://x", token_file=tmp_path / "none"))
    with pytest.raises(BadKubeConfig, match="cannot be read"):
        credentials.authorization()


def test_the_tls_context_is_kept_until_a_file_changes_and_while_a_new_one_is_half_written(tmp_path: Path) -> None:
    first, second = make_authority(), make_authority()
    ca, chain, key = tmp_path / "ca.crt", tmp_path / "a.crt", tmp_path / "a.key"
    ca.write_bytes(first.root)
    chain.write_bytes(first.client.certificate)
    key.write_bytes(first.client.key)
    config = KubeConfig(server="https://x", authority=ca, client_certificate=chain, client_key=key)
    credentials = Credentials(config)
    context = credentials.tls()
    assert credentials.tls() is context
    chain.write_bytes(second.client.certificate + b"\n")  # its key is not there yet
    assert credentials.tls() is context
    key.write_bytes(second.client.key + b"\n")
    assert credentials.tls() is not context


def test_certificates_that_cannot_be_used_are_one_sentence() -> None:
    with pytest.raises(BadKubeConfig, match="Check the authority"):
        Credentials(KubeConfig(server="https://x", authority=b"nonsense")).tls()
