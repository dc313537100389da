"""When an agent's changes are told: at once where a replica changed its state, else at most every so often.

The simulated counterpart of the live agent's coalescing and of its stream's heartbeat; what is told, and to whom, is
the listener's business.
"""

from collections.abc import Callable

from stoker_sim.engine.agenda import Agenda

BEAT_US = 1_000_000
"""Between two heartbeats of a load stream (stoker.wire.agent)."""


class Frames:
    """Collects the flows that changed; the listener gets their keys, in the order of their first change, and whether a
    replica changed its state. After a change `beat` is called at each heartbeat, as long as it says that there is
    something whose predicted wait changes by the passing of time alone.
    """

    __slots__ = (
        "_agenda",
        "_at_once",
        "_beat",
        "_beating",
        "_beats",
        "_changed",
        "_due_us",
        "_interval_us",
        "_next_us",
        "_tell",
        "_told",
    )

    def __init__(
        self,
        agenda: Agenda,
        interval_us: int,
        told: Callable[[tuple[str, ...], bool], None],
        beat: Callable[[], bool],
    ) -> None:
        self._agenda = agenda
        self._interval_us = interval_us
        self._told = told
        self._changed: dict[str, None] = {}
        self._at_once = False
        self._due_us: int | None = None
        self._next_us = 0
        self._tell = agenda.kind(self._on_tell)
        self._beat = beat
        self._beating = False
        self._beats = agenda.kind(self._on_beat)

    def touch(self, key: str) -> None:
        """The queue or the slots of a flow changed."""
        self._changed[key] = None
        if self._due_us is None:
            self._expect(max(self._next_us, self._agenda.now_us))

    def state(self, key: str) -> None:
        """A replica of it changed its state."""
        self._changed[key] = None
        self._at_once = True
        if self._due_us != self._agenda.now_us:
            self._expect(self._agenda.now_us)

    def _expect(self, due_us: int) -> None:
        self._due_us = due_us
        self._agenda.at(due_us, self._tell, None)

    def _on_tell(self, _: None) -> None:
        now_us = self._agenda.now_us
        if self._due_us != now_us:
            return  # told already
        self._due_us = None
        self._next_us = now_us + self._interval_us
        changed, self._changed = tuple(self._changed), {}
        at_once, self._at_once = self._at_once, False
        self._told(changed, at_once)
        if not self._beating:
            self._expect_beat()

    def _expect_beat(self) -> None:
        self._beating = True
        self._agenda.at((self._agenda.now_us // BEAT_US + 1) * BEAT_US, self._beats, None)

    def _on_beat(self, _: None) -> None:
        self._beating = False
        if self._beat():
            self._expect_beat()
