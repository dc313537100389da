"""How much of a gateway's hold, or of its connections, each namespace may fill: as much as it leaves free, so that none
keeps the others out.

Half when it is alone, a third beside one more that floods. Counts only; who waits for what is the caller's.
"""


class HoldShares:
    """Requests and bytes held, in all and for each namespace that has any."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._free = max_requests
        self._free_bytes = max_bytes
        self._of: dict[str, tuple[int, int]] = {}

    def full(self, namespace: str, body_bytes: int) -> bool:
        """Whether one more request would exceed the bounds, or what the namespace may have of them."""
        if self._free < 1 or body_bytes > self._free_bytes:
            return True
        count, size = self._of.get(namespace, (0, 0))
        # Its first one is only bound by what is there.
        return count > 0 and (count >= self._free or size + body_bytes > self._free_bytes)

    def add(self, namespace: str, count: int, size: int) -> None:
        """So many more requests and bytes are held (fewer, where negative)."""
        self._free -= count
        self._free_bytes -= size
        before = self._of.pop(namespace, (0, 0))
        if before[0] + count:
            self._of[namespace] = (before[0] + count, before[1] + size)
