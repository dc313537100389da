"""The platform that a replay meets: bench.serving with the functions of bench.reality.world and an event log."""

from pathlib import Path

from bench import serving
from bench.reality.world import GPUS, QUANTUM_S, documents
from bench.serving import emptied

__all__ = ["Serving", "emptied"]


class Serving(serving.Serving):
    """`with Serving(folder, kind, policy) as serving:`."""

    def __init__(self, folder: Path, kind: str, policy: str, *, keep_alive_s: float | None = None) -> None:
        self.event_log = folder / "events.log"
        self.stamps = folder / "stamps"
        super().__init__(
            folder,
            documents(kind, self.stamps, keep_alive_s=keep_alive_s),
            ["--gpus", GPUS[kind], "--queueing", policy, "--event-log", str(self.event_log)],
            settings={"STOKER_QUANTUM_S": str(QUANTUM_S), "STOKER_EVENT_LOG_MIB": "1024"},
        )
