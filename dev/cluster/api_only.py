"""An API server without nodes, for contract tests: etcd and kube-apiserver on free loopback ports, ready in seconds.

    server = cluster.api_only.start(tmp_path, controller_manager=True)
    ... KubeClient(server.kubeconfig) ...
    server.stop()

Several may run side by side. They end with the process that started them, even when that is killed.
"""

import shutil
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from cluster.binaries import binary
from cluster.control_plane import ControlPlane, Ports
from cluster.readiness import NotReadyError, answers, last_line, wait_until
from cluster.tethered import Tethered

_NEEDED: Final = ("etcd", "kube-apiserver")
_TIMEOUT_S: Final = 60.0
_ATTEMPTS: Final = 3


def programs(*, controller_manager: bool = False, scheduler: bool = False) -> tuple[str, ...]:
    """What `start` needs with these settings; for `binaries.available` and `binaries.ensure`."""
    return (
        *_NEEDED,
        *(["kube-controller-manager"] if controller_manager else []),
        *(["kube-scheduler"] if scheduler else []),
    )


class ApiServer:
    """A running API server. Make one by `start`; `stop` it, or use it as a context manager."""

    def __init__(self, plane: ControlPlane, api_server_flags: Sequence[str]) -> None:
        self._plane = plane
        self._flags = tuple(api_server_flags)
        self._processes: dict[str, Tethered] = {}

    @property
    def url(self) -> str:
        return self._plane.url

    @property
    def port(self) -> int:
        return self._plane.ports.api

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""
        return self._plane.kubeconfig("administrator")

    @property
    def authority(self) -> Path:
        """The PEM file of the authority that signed the server's certificate."""
        return self._plane.keys / "ca.crt"

    @property
    def client_certificate(self) -> tuple[Path, Path]:
        """PEM files of an administrator's certificate and key."""
        return self._plane.keys / "administrator.crt", self._plane.keys / "administrator.key"

    @property
    def service_account_signing_key(self) -> Path:
        return self._plane.keys / "service-accounts.key"

    @property
    def scheduler_kubeconfig(self) -> Path:
        return self._plane.kubeconfig("kube-scheduler")

    def start_api_server(self) -> None:
        """Starts (again) what `kill_api_server` ended, on the same port and data; returns when it is ready."""
        self.start_program("kube-apiserver", self._plane.api_server(self._flags))
        process, log = self._processes["kube-apiserver"], self._log("kube-apiserver")
        ready = f"{self.url}/readyz"
        wait_until(
            "kube-apiserver", lambda: answers(ready, self.authority), timeout_s=_TIMEOUT_S, alive=process.alive, log=log
        )

    def kill_api_server(self) -> None:
        """As by kill -9: open watches break. The data stays in etcd."""
        self._processes.pop("kube-apiserver").stop()

    def start_scheduler(self, config: Path | None = None) -> None:
        """Starts kube-scheduler, or starts it anew with another KubeSchedulerConfiguration."""
        self.kill_scheduler()
        self.start_program("kube-scheduler", self._plane.scheduler(config))

    def kill_scheduler(self) -> None:
        running = self._processes.pop("kube-scheduler", None)
        if running is not None:
            running.stop()

    def start_controller_manager(self) -> None:
        self.start_program("kube-controller-manager", self._plane.controller_manager())

    def stop(self) -> None:
        """Ends everything and deletes the data. May be called twice."""
        with ExitStack() as stack:  # each is stopped, even when stopping another failed
            for process in self._processes.values():
                stack.callback(process.stop)
            self._processes = {}
        shutil.rmtree(self._plane.directory / "etcd", ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kubectl(self) -> list[str]:
        """The beginning of a kubectl command line as administrator."""
        return [str(binary("kubectl")), f"--kubeconfig={self.kubeconfig}"]

    def start_program(self, name: str, argv: Sequence[str]) -> None:
        """Starts a program that ends with this server; its log is NAME.log in the directory."""
        self._processes[name] = Tethered(argv, self._log(name))

    def _log(self, name: str) -> Path:
        return self._plane.directory / f"{name}.log"


def start(
    directory: Path,
    *,
    controller_manager: bool = False,
    scheduler: bool = False,
    scheduler_config: Path | None = None,
    api_server_flags: Sequence[str] = (),
) -> ApiServer:
    """Starts in this (new or empty) directory; the caller has built `programs(...)` by `binaries.ensure`.

    Raises NotReadyError with one sentence that names the log.
    """
    failure: NotReadyError | None = None
    for attempt in range(_ATTEMPTS):
        plane = ControlPlane(directory / f"try-{attempt}" if attempt else directory, _free_ports())
        plane.directory.mkdir(parents=True, exist_ok=True)
        plane.certificates()
        server = ApiServer(plane, api_server_flags)
        try:
            server.start_program("etcd", plane.etcd())
            server.start_api_server()
            if controller_manager:
                server.start_controller_manager()
            if scheduler or scheduler_config is not None:
                server.start_scheduler(scheduler_config)
        except NotReadyError as error:
            server.stop()
            failure = error
            # Between our finding a free port and the server's taking it, another process may have taken it.
            logs = (last_line(plane.directory / f"{name}.log") for name in _NEEDED)
            if not any("address already in use" in line for line in logs):
                raise
        except BaseException:
            server.stop()
            raise
        else:
            return server
    raise failure or NotReadyError("cluster: no free ports")


def _free_ports() -> Ports:
    with ExitStack() as stack:
        numbers = []
        for _ in Ports.__struct_fields__:
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            numbers.append(taken.getsockname()[1])
    return Ports(*numbers)
