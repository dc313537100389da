"""`stoker sim replay`: every decision of an event log made again by the core that is here, and compared."""

from collections.abc import Sequence
from pathlib import Path

from stoker.replay.comparison import Difference
from stoker.replay.replayer import Replayed, replay
from stoker_cli.console import printable, say
from stoker_cli.sim.log_files import read_log

_WHAT = {
    "pop": "which request runs next",
    "judge": "whether the agent takes a request",
    "estimate": "how long a run or a start will take",
    "ahead": "how much work is before a request",
    "expire": "which requests have timed out",
    "cancel": "whether a request is still queued",
    "due": "when what is held back may go",
    "schedule": "the order of all that is queued",
    "exchange": "what a new policy takes over",
    "export": "what a policy gives away",
    "arrive": "whether a function's queue is full",
    "choose": "send, hold or refuse",
    "room": "whether the hold is full",
    "plan": "which replicas start, drain and end",
}


def replay_logs(paths: Sequence[Path]) -> int:
    """Replay each file; exit code 1 where a decision differs. Raises CommandFailed for what is no log."""
    code = 0
    for path in paths:
        found = read_log(path, replay)
        say(described(path.name, found))
        if found.difference is not None:
            code = 1
    return code


def described(name: str, found: Replayed) -> str:
    """What came of one file, for a person."""
    header = found.header
    lines = [
        f"{name}: file {header.part} of a log by Stoker {header.stoker}",
        f"  {found.records:,} records, {found.ended:,} requests ended",
    ]
    width = max((len(f"{count:,}") for count in found.compared.values()), default=0)
    lines += [f"  {count:>{width},}  {kind:9} {_WHAT.get(kind, '')}" for kind, count in found.compared.items()]
    if found.cut is not None:
        lines.append(f"  Line {found.cut} was not written to its end and is left out.")
    lines.append(f"  {_end_of(found)}")
    if found.difference is None:
        lines.append(f"{found.decisions:,} decisions compared, all of them the same.")
    else:
        lines.append(f"{found.decisions:,} decisions compared and the same, then one that differs:")
        lines.append(_shown(found.difference))
    return printable("\n".join(lines))


def _end_of(found: Replayed) -> str:
    if found.difference is not None:
        return "What comes behind the difference follows from another state and was not replayed."
    if found.closed is None:
        return "The log does not say why it ends: the process was killed, it still runs, or the next file goes on."
    return f"The log ended itself: {found.closed}." if found.closed else "The process ended in order."


def _shown(difference: Difference) -> str:
    return "\n".join(
        (
            f"  line {difference.line}, {difference.kind}: {_WHAT.get(difference.kind, '')}",
            f"  record    {difference.record}",
            f"  recorded  {difference.recorded}",
            f"  replayed  {difference.replayed}",
        )
    )
