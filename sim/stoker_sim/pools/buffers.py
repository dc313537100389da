"""The buffers of one executor on its device: what is there, what a request must bring, and who is evicted for it.

Source: KaaS (N. Pemberton et al., arXiv 2212.08146), `bufferCache` of its public code, research notes 2.3. Two LRU
lists: buffers that were used more than twice (constants, in effect) and the others, which are evicted first. Room for a
request is made in one batch before anything is loaded, and what a request uses is pinned while it runs. Knows bytes and
names; what a load takes is its caller's business.
"""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from stoker.errors import StokerError

PROTECTED_AFTER = 2
"""Uses after which a buffer counts as a constant."""


class NoRoom(StokerError):  # noqa: N818  the name states the fact
    """The buffers of one request are larger than the device."""


class Reserve(StrEnum):
    """How much room is made before a request."""

    MISSING = "missing"
    """For those of its buffers that are not on the device, as the design is described."""
    WHOLE = "whole"
    """For all of them, resident ones too, as the public code does: before a request it looks residents up by their
    key, but stores them under client, name and key, and so finds none; and as it loads each buffer it makes room for it
    again before it asks whether it is there.
    """


class Buffer(Struct, frozen=True):
    """One buffer of a request. Equal names are one buffer."""

    name: str
    size: int
    """Bytes."""
    stored: bool = True
    """Whether it has content that must be copied when it comes to the device; False: scratch memory."""


class BufferCache:
    """See the module. Raises NoRoom where a request can never be held."""

    def __init__(self, capacity: int, reserve: Reserve = Reserve.MISSING) -> None:
        """`capacity`: bytes that buffers may take."""
        self._capacity = capacity
        self._reserve = reserve
        self._used = 0
        self._here: dict[str, Buffer] = {}
        self._uses: dict[str, int] = {}
        """Of every buffer that was ever here; uses are not forgotten when a buffer is evicted."""
        self._others: dict[str, None] = {}
        self._protected: dict[str, None] = {}
        """Both least recently used first. What a request has pinned is in neither."""
        self.hits = self.compulsory = self.capacity_misses = self.evictions = 0
        """Buffers found, loaded for the first time, loaded again, and evicted."""

    @property
    def used(self) -> int:
        """Bytes on the device."""
        return self._used

    def holds(self, name: str) -> bool:
        """Whether the buffer is on the device."""
        return name in self._here

    def pin(self, buffers: Sequence[Buffer]) -> int:
        """Bring all of them to the device and keep them there until release(); how many bytes must be copied."""
        wanted = {buffer.name: buffer for buffer in buffers}
        whole = self._reserve is Reserve.WHOLE
        self._make_room(sum(b.size for b in wanted.values() if whole or b.name not in self._here))
        missing = [buffer for name, buffer in wanted.items() if name not in self._here]
        for name in wanted:
            if name in self._here:
                self.hits += 1
                self._list_of(name).pop(name, None)
        return sum(map(self._load, missing))

    def release(self, buffers: Sequence[Buffer]) -> None:
        """The request that pinned them has ended."""
        for buffer in buffers:
            name = buffer.name
            self._uses[name] = self._uses.get(name, 0) + 1
            self._list_of(name)[name] = None

    def _load(self, buffer: Buffer) -> int:
        # The batch may have evicted buffers of the request itself, which was not pinned yet.
        self._make_room(buffer.size)
        if buffer.name in self._uses:
            self.capacity_misses += 1
        else:
            self.compulsory += 1
        self._used += buffer.size
        self._here[buffer.name] = buffer
        return buffer.size if buffer.stored else 0

    def _make_room(self, size: int) -> None:
        while self._capacity - self._used < size:
            victims = self._others or self._protected
            if not victims:
                raise NoRoom(
                    f"a request needs {size} bytes beside {self._used} in use; a device holds {self._capacity}"
                )
            name = next(iter(victims))
            del victims[name]
            self._used -= self._here.pop(name).size
            self.evictions += 1

    def _list_of(self, name: str) -> dict[str, None]:
        return self._protected if self._uses.get(name, 0) > PROTECTED_AFTER else self._others
