"""The real Prometheus of the development cluster, scraping what a test gives it, asked by its HTTP API.

`scrape_addresses` is for processes of this machine. `scrape_cluster` follows the pods of Stoker in any cluster that a
kubeconfig leads to, through the API server, so that no route to pods is needed; labels come out as by the chart's
PodMonitor.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from settings_of_tests import REQUIRE_CLUSTER

from cluster.binaries import available, binary
from stoker.wire.cluster import L_COMPONENT, L_NAME, NAME, PORT_INTERNAL
from stoker_runtime.kube.config import KubeConfig, Pem
from stoker_runtime.kube.kubeconfig import load_kubeconfig

PROGRAMS = ("prometheus", "promtool")


def need_prometheus() -> None:
    """Skips the test where Prometheus is not built; fails it where it may not be skipped."""
    if available(PROGRAMS):
        return
    why = "needs the real Prometheus, which is not built: `make cluster` builds it"
    if REQUIRE_CLUSTER:
        pytest.fail(why)
    pytest.skip(why)


class BadQuery(AssertionError):  # noqa: N818  the name states the fact
    """Prometheus refused a query."""


class Prometheus:
    """One process with a data folder of its own. Use `prometheus(...)`."""

    def __init__(self, folder: Path, scrape: Sequence[Mapping[str, Any]], interval_s: float) -> None:
        self.output = folder / "prometheus.log"
        self._folder = folder
        self._config = folder / "prometheus.yaml"
        interval = f"{round(interval_s * 1000)}ms"
        content = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": list(scrape),
        }
        self._config.write_text(json.dumps(content))  # a JSON text is YAML
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self.port = 0

    async def start(self) -> None:
        for _ in range(3):
            self.port = _free_port()
            await self._spawn()
            if await self._until_ready():
                return
        raise AssertionError(f"Prometheus does not start:\n{self.output.read_text()[-3000:]}")

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples that a query gives now. Raises BadQuery."""
        data = await self._get("/api/v1/query", query=expr)
        result = data["result"]
        return result if data["resultType"] == "vector" else [{"metric": {}, "value": result}]

    async def parse(self, expr: str) -> dict[str, Any]:
        """The syntax tree of a query. Raises BadQuery."""
        return await self._get("/api/v1/parse_query", query=expr)  # type: ignore[no-any-return]

    async def label_values(self, label: str, match: str) -> list[str]:
        """What a query variable of Grafana asks for."""
        return await self._get(f"/api/v1/label/{label}/values", **{"match[]": match})  # type: ignore[no-any-return]

    async def targets(self) -> list[dict[str, Any]]:
        """What is scraped, with labels and health."""
        return (await self._get("/api/v1/targets", state="active"))["activeTargets"]  # type: ignore[no-any-return]

    async def until_up(self, count: int, ceiling_s: float = 60) -> None:
        """At least so many targets, all of them scraped well."""

        async def up() -> str:
            targets = await self.targets()
            bad = [
                f"{one['scrapeUrl']}: {one['lastError'] or one['health']}" for one in targets if one["health"] != "up"
            ]
            return "" if len(targets) >= count and not bad else f"{len(targets)} of {count} targets; {bad}"

        await self.until(up, ceiling_s)

    async def until(self, problem: Callable[[], Coroutine[Any, Any, str]], ceiling_s: float) -> None:
        """Wait until there is no problem; fail with the last one."""
        deadline = time.monotonic() + ceiling_s
        while why := await problem():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {ceiling_s:g} s: {why}")
            await asyncio.sleep(0.3)

    async def _spawn(self) -> None:
        await self.stop()
        with self.output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                str(binary("prometheus")),
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
            )
        self._session = aiohttp.ClientSession(base_url=f"http://127.0.0.1:{self.port}")

    async def _until_ready(self) -> bool:
        """False when the process has ended: somebody else took the port, or the configuration is bad."""
        assert self._process is not None
        assert self._session is not None
        for _ in range(300):
            if self._process.returncode is not None:
                return False
            try:
                async with self._session.get("/-/ready") as response:
                    if response.status == 200:
                        return True
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
        return False

    async def _get(self, path: str, **parameters: str) -> Any:
        assert self._session is not None
        async with self._session.get(path, params=parameters) as response:
            answer = json.loads(await response.read())
        if answer["status"] != "success":
            raise BadQuery(f"{parameters}: {answer.get('error')}")
        return answer["data"]


@asynccontextmanager
async def prometheus(
    folder: Path, scrape: Sequence[Mapping[str, Any]], *, interval_s: float = 1.0
) -> AsyncIterator[Prometheus]:
    """Runs from here to the end of the block."""
    under_test = Prometheus(folder, scrape, interval_s)
    try:
        await under_test.start()
        yield under_test
    finally:
        await under_test.stop()


def scrape_addresses(*addresses: str, job: str = "stoker") -> list[dict[str, Any]]:
    """`host:port` of /metrics without TLS."""
    return [{"job_name": job, "honor_labels": True, "static_configs": [{"targets": list(addresses)}]}]


def scrape_cluster(kubeconfig: Path, namespace: str, folder: Path) -> list[dict[str, Any]]:
    """Every process of Stoker in its namespace. Certificates are put into the folder."""
    config = load_kubeconfig(kubeconfig)
    server = urlsplit(config.server)
    pod = "__meta_kubernetes_pod"
    name, component = (f"{pod}_label_{label.translate(str.maketrans('./-', '___'))}" for label in (L_NAME, L_COMPONENT))
    proxy = f"/api/v1/namespaces/$1/pods/$2:{PORT_INTERNAL}/proxy/metrics"
    return [
        {
            "job_name": "stoker",
            # Labels of a function's metrics win over those of the pod that shows them.
            "honor_labels": True,
            "scheme": server.scheme,
            **_credentials(config, folder),
            "kubernetes_sd_configs": [
                {"role": "pod", "kubeconfig_file": str(kubeconfig), "namespaces": {"names": [namespace]}}
            ],
            "relabel_configs": [
                {"source_labels": [name], "regex": NAME, "action": "keep"},
                {"source_labels": [f"{pod}_phase"], "regex": "Running", "action": "keep"},
                {"source_labels": [f"{pod}_container_port_number"], "regex": str(PORT_INTERNAL), "action": "keep"},
                {"source_labels": [component], "target_label": "job"},
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                {"source_labels": [f"{pod}_name"], "target_label": "pod"},
                {"source_labels": [f"{pod}_name"], "target_label": "instance"},
                {"source_labels": [f"{pod}_node_name"], "target_label": "node"},
                {
                    "source_labels": ["__meta_kubernetes_namespace", f"{pod}_name"],
                    "separator": "/",
                    "regex": "(.+)/(.+)",
                    "replacement": proxy,
                    "target_label": "__metrics_path__",
                },
                {"target_label": "__address__", "replacement": server.netloc},
            ],
        }
    ]


def _credentials(config: KubeConfig, folder: Path) -> dict[str, Any]:
    tls: dict[str, str] = {}
    parts: tuple[tuple[str, Pem], ...] = (
        ("ca_file", config.authority),
        ("cert_file", config.client_certificate),
        ("key_file", config.client_key),
    )
    for name, pem in parts:
        if isinstance(pem, bytes):
            path = folder / f"{name}.pem"
            path.touch(mode=0o600)
            path.write_bytes(pem)
            tls[name] = str(path)
        elif pem is not None:
            tls[name] = str(pem)
    if config.tls_server_name:
        tls["server_name"] = config.tls_server_name
    found: dict[str, Any] = {"tls_config": tls}
    if config.token_file is not None:
        found["authorization"] = {"credentials_file": str(config.token_file)}
    elif config.token:
        found["authorization"] = {"credentials": config.token}
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
