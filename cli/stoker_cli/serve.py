"""`stoker serve`: settings, start, banner, signals and exit code around stoker_cli.embedded."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import structlog
from msgspec import Struct

from stoker.model.device import Device
from stoker.policies.queueing.registry import make_queueing
from stoker_cli.console import CommandFailed, complain, say
from stoker_cli.embedded import Embedded, Settings
from stoker_cli.event_log import EventLog
from stoker_cli.launching import LauncherName
from stoker_cli.log_folder import log_folder
from stoker_cli.open_files import take_open_files
from stoker_cli.state_file import ServeState, process_start, remove_state, state_folder, write_state
from stoker_gateway.config import GatewaySettings
from stoker_node.config import NodeSettings
from stoker_node.devices import DeviceProbe, cpu_device
from stoker_runtime.event_loop import Signals, keep_what_start_up_made, run_on_uvloop, unless
from stoker_runtime.logs import configure_logs
from stoker_runtime.settings import ProcessSettings, ServeSettings, load, refuse_unknown

log = structlog.get_logger(__name__)

DRIVER_PATIENCE_S = 20.0
"""A driver that lists its GPUs later than this hangs: a cold one takes a few seconds."""
EXIT_KILLED = 130


class ServeOptions(Struct, frozen=True, kw_only=True):
    """The command line of `stoker serve`; None: not given."""

    files: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8080
    mtls: bool = False
    queueing: str | None = None
    launcher: LauncherName = LauncherName.AUTO
    drain_s: float | None = None
    log_format: str | None = None
    event_log: Path | None = None


OpenProbe = Callable[[], DeviceProbe | None]
"""Opens the GPUs that main.py chose: the machine's, simulated ones, or none. May block."""


def run_serve(options: ServeOptions, open_probe: OpenProbe, environ: Mapping[str, str]) -> int:
    """Serve until a signal; the exit code. Raises a StokerError for what is wrong at the start."""
    settings = _settings(options, environ)
    if options.queueing is not None:
        make_queueing(options.queueing)
    for path in options.files:
        if not path.exists():
            raise CommandFailed(f"{path}: there is no such file or folder.")
    probe, gpus = _open_in_time(open_probe)
    take_open_files()
    log_dir = log_folder(environ, os.getpid())
    devices = (*gpus, cpu_device())
    lines = configure_logs(settings.process.log_level, settings.process.log_format, background=True)
    event_log = None if options.event_log is None else _open_event_log(options.event_log, settings.serve)
    try:
        return run_on_uvloop(
            lambda: _serve(
                options,
                lambda: Embedded(
                    paths=options.files,
                    devices=devices,
                    probe=probe,
                    queueing=options.queueing,
                    launcher=options.launcher,
                    settings=settings,
                    clock_us=clock_us,
                    log_dir=log_dir,
                    on_error=lambda error: lines.write(f"stoker: {error}\n"),
                    recorder=None if event_log is None else event_log.recorder(devices),
                    state_folder=state_folder(environ),
                ),
                settings.serve.drain_s,
                environ,
            )
        )
    finally:
        if event_log is not None:
            event_log.close()
        lines.drain(1.0)
        if probe is not None:
            probe.close()


async def _serve(
    options: ServeOptions, make_platform: Callable[[], Embedded], drain_s: float, environ: Mapping[str, str]
) -> int:
    signals = Signals()
    platform = make_platform()
    state_path: Path | None = None
    up, grant_s = False, 0.0

    async def start() -> bool:
        await platform.check(options.host, options.port)
        await platform.load()
        if not platform.functions and not any(path.is_dir() for path in options.files):
            raise CommandFailed("None of the files has a valid function, and no folder is watched for one.")
        await platform.start(options.host, options.port, mtls=options.mtls)
        return True

    try:
        if await unless(signals.asked, start()):
            up = True
            for function in platform.functions.values():
                for warning in (*function.warnings, *platform.costs.warnings_of(function)):
                    complain(f"{function.origin}: {function.key}: {warning}")
            if platform.policy is not None:
                for warning in platform.warnings(platform.policy):
                    complain(f"GpuPolicy {platform.policy.name}: {warning}")
            state_path = _write_state(platform, environ)
            keep_what_start_up_made()
            say(platform.banner())
            log.info("serving", url=platform.url, internal=platform.internal_url, functions=len(platform.functions))
            await signals.asked.wait()
            grant_s = drain_s
            say("Finishing what was accepted; Ctrl-C ends everything at once.")
            log.info("draining", drain_s=drain_s)
    finally:
        stopped = await unless(signals.insisted, _stopped(platform, grant_s))
        if not stopped:
            await platform.end_replicas()
        if state_path is not None:
            remove_state(state_path, os.getpid())
        if up:
            log.info("stopped", in_order=bool(stopped))
        signals.close()
    return 0 if stopped else EXIT_KILLED


async def _stopped(platform: Embedded, drain_s: float) -> bool:
    await platform.stop(drain_s)
    return True


def clock_us() -> int:
    """Monotonic microseconds: the one clock of the process."""
    return time.monotonic_ns() // 1000


def _settings(options: ServeOptions, environ: Mapping[str, str]) -> Settings:
    refuse_unknown(environ, ProcessSettings, ServeSettings, NodeSettings, GatewaySettings)
    return Settings(
        process=load(ProcessSettings, environ, {"log_format": options.log_format}),
        serve=load(ServeSettings, environ, {"drain_s": options.drain_s}),
        node=load(NodeSettings, environ),
        gateway=load(GatewaySettings, environ),
    )


def _open_event_log(path: Path, settings: ServeSettings) -> EventLog:
    return EventLog(
        path,
        file_mib=settings.event_log_mib,
        files=settings.event_log_files,
        clock_us=clock_us,
        version=version("stoker"),
    )


def _open_in_time(open_probe: OpenProbe) -> tuple[DeviceProbe | None, tuple[Device, ...]]:
    """Open the GPUs and list them. A driver that hangs cannot be interrupted, but it can be left behind."""
    result: list[tuple[DeviceProbe | None, tuple[Device, ...]]] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            probe = open_probe()
            result.append((probe, probe.list() if probe is not None else ()))
        except Exception as err:  # noqa: BLE001  raised again by the caller
            failed.append(err)

    thread = threading.Thread(target=run, name="open-gpus", daemon=True)
    thread.start()
    thread.join(DRIVER_PATIENCE_S)
    if failed:
        raise failed[0]
    if not result:
        raise CommandFailed(
            f"The GPU driver has not answered for {DRIVER_PATIENCE_S:g} s; "
            "see nvidia-smi, or serve without it by --gpus none."
        )
    return result[0]


def _write_state(platform: Embedded, environ: Mapping[str, str]) -> Path | None:
    state = ServeState(
        pid=os.getpid(),
        url=platform.url,
        internal=platform.internal_url,
        started=datetime.fromtimestamp(time.time_ns() / 1e9, UTC).isoformat(timespec="microseconds"),
        process_start=process_start(os.getpid()) or 0,
    )
    try:
        return write_state(state, environ)
    except OSError as err:
        where = f" in {err.filename}" if err.filename else ""
        complain(
            f"The state file could not be written{where} ({(err.strerror or str(err)).lower()}), so invoke, top and "
            "explain will not find this instance; set XDG_STATE_HOME to a folder that can be written."
        )
        return None
