"""How a container ended, in the words of the process launcher. Pure."""

import signal

from stoker.reasons import Reason
from stoker_cli.containers.container_command import Dialect
from stoker_cli.containers.engine import ContainerState
from stoker_cli.processes.launcher import ExitInfo, signal_name

_SIGNALLED = 128
"""Exit codes above name the signal that ended a program."""


def exit_info(
    state: ContainerState | None,
    output: tuple[str, ...],
    *,
    program: str,
    dialect: Dialect,
    memory_mib: int | None,
    asked: bool,
) -> ExitInfo:
    """Of a container that did run. `state` is the last one before it was removed; `asked`: it was told to end."""
    if state is None or state.is_running:
        detail = f"{program} lost it, and it was removed"
        return ExitInfo(code=None, signal=signal.SIGKILL, output=output, detail=detail)
    code: int | None = state.exit_code
    number = None
    if _SIGNALLED < state.exit_code < _SIGNALLED + signal.NSIG:
        code, number = None, state.exit_code - _SIGNALLED
    killed = number == signal.SIGKILL and not asked
    # podman on cgroup v1 does not tell, and hardly anything else kills a program that has a limit.
    if state.out_of_memory or (killed and memory_mib is not None and dialect is Dialect.PODMAN):
        return ExitInfo(
            code=code,
            signal=number,
            reason=Reason.MEMORY_EXCEEDED,
            output=output,
            detail=f"it held more than container.resources.memory ({memory_mib} MiB) and was killed",
        )
    detail = f"it was ended by {signal_name(number)}" if number else f"it ended with exit code {code}"
    return ExitInfo(code=code, signal=number, output=output, detail=detail)
