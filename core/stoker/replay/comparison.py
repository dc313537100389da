"""Decisions compared one by one: how many of each kind agree, and the first that does not."""

from msgspec import Struct

from stoker.errors import StokerError


class Differs(StokerError):  # noqa: N818  the name states the fact
    """The core decided otherwise than the log says."""

    def __init__(self, kind: str, recorded: object, replayed: object) -> None:
        super().__init__(f"{kind}: the log has {recorded!r}, the core says {replayed!r}")
        self.kind = kind
        self.recorded = recorded
        self.replayed = replayed


class Unknown(StokerError):  # noqa: N818  as above
    """A record refers to what no record before it has told."""


class Comparison:
    """Counts by kind, in the order in which they came first."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def same(self, kind: str, recorded: object, replayed: object) -> None:
        """One decision; raises Differs where it is not the recorded one."""
        if recorded != replayed:
            raise Differs(kind, recorded, replayed)
        self.counts[kind] = self.counts.get(kind, 0) + 1


class Difference(Struct, frozen=True, kw_only=True):
    """The first decision that was not the recorded one."""

    line: int
    kind: str
    record: str
    """The whole record, as a line of JSON."""
    recorded: str
    replayed: str
    """The decision in the log, and the core's now."""
