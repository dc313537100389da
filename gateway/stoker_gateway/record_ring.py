"""The newest records of requests, by request id. Bounded; a repeated id names its newest record."""

from collections import deque

from stoker.decisions import RequestRecord


class RecordRing:
    """See the module."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._ring: deque[RequestRecord] = deque()
        self._by_id: dict[str, RequestRecord] = {}

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, record: RequestRecord) -> None:
        """Remember a request that ended."""
        if len(self._ring) >= self._kept:
            oldest = self._ring.popleft()
            # Clients may choose their ids: a newer request of the same id stays findable.
            if self._by_id.get(oldest.id) is oldest:
                del self._by_id[oldest.id]
        self._ring.append(record)
        self._by_id[record.id] = record

    def get(self, request_id: str) -> RequestRecord | None:
        """The record of a request; None for one that is unknown or was forgotten."""
        return self._by_id.get(request_id)
