"""A process of Stoker in a pod, from its environment to its exit code.

Settings are read once and all together, so that a misspelt variable is an error; what is wrong at the start is one
sentence on standard error and exit code 1; SIGTERM asks to end. Knows no component.
"""

import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TypeVar

from msgspec import Struct

from stoker.errors import StokerError
from stoker_runtime.event_loop import Signals, run_on_uvloop
from stoker_runtime.logs import configure_logs
from stoker_runtime.settings import ProcessSettings, load, refuse_unknown

S = TypeVar("S", bound=Struct)

LOG_DRAIN_S = 1.0


class Environment:
    """The settings of a process, one struct per part of it."""

    def __init__(self, environ: Mapping[str, str], *kinds: type[Struct]) -> None:
        """Raises BadSetting for a STOKER_* variable that none of `kinds` reads, or a value out of range."""
        refuse_unknown(environ, ProcessSettings, *kinds)
        self._settings: dict[type[Struct], Struct] = {}
        everything: tuple[type[Struct], ...] = (ProcessSettings, *kinds)
        for kind in everything:
            self._settings[kind] = load(kind, environ)

    def get(self, kind: type[S]) -> S:
        """The settings of one part."""
        found = self._settings[kind]
        assert isinstance(found, kind)
        return found


def clock_us() -> int:
    """Monotonic microseconds: the one clock of a process."""
    return time.monotonic_ns() // 1000


def wall_us() -> int:
    """Microseconds since 1970: for timestamps of the API and for cron, never for durations."""
    return time.time_ns() // 1000


def run_process(
    environ: Mapping[str, str],
    kinds: tuple[type[Struct], ...],
    main: Callable[[Environment, Signals], Coroutine[object, object, int]],
) -> int:
    """Run `main` to its end; the exit code of the process. `main` should end soon after `signals.asked` is set."""
    try:
        settings = Environment(environ, *kinds)
    except StokerError as error:
        return _complain(error)
    process = settings.get(ProcessSettings)
    lines = configure_logs(process.log_level, process.log_format, background=True)

    async def run() -> int:
        signals = Signals()
        try:
            return await main(settings, signals)
        finally:
            signals.close()

    try:
        return run_on_uvloop(run)
    except StokerError as error:
        return _complain(error)
    finally:
        lines.drain(LOG_DRAIN_S)


def _complain(error: StokerError) -> int:
    print(f"stoker: {error}", file=sys.stderr)  # noqa: T201  what is wrong at the start is for the person who looks
    return 1
