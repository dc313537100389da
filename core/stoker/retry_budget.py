"""How many further tries a gateway may make at agents for requests of one function: trouble is not to be amplified.

A try at a second candidate, after a lost connection, or on a fresh connection in place of a stale one is work that
nobody asked for. Over the last ten seconds there are at most a tenth as many of them as requests, and ten a second
beside that for functions that are called rarely. Finagle's retry budget has this form (a share of the requests and 10
a second, over 10 s; its share is 20 %); the tenth is that of Google's SRE book, ch. 21. So n requests make at most
1.1 n + 100 tries in any ten seconds. Pure: it is told the time.
"""

WINDOW_S = 10
SHARE_PERCENT = 10
MIN_PER_S = 10
_SECOND_US = 1_000_000


class RetryBudget:
    """Counts by whole seconds; the oldest fall out as the time goes on."""

    __slots__ = ("_requests", "_second", "_tries")

    def __init__(self) -> None:
        self._requests = [0] * WINDOW_S
        self._tries = [0] * WINDOW_S
        self._second = 0

    def request(self, now_us: int) -> None:
        """One more request came."""
        self._requests[self._slot(now_us)] += 1

    def take(self, now_us: int) -> bool:
        """Whether there may be one more try, which is counted then. False: answer what is known already."""
        slot = self._slot(now_us)
        allowed = MIN_PER_S * WINDOW_S + sum(self._requests) * SHARE_PERCENT // 100
        if sum(self._tries) >= allowed:
            return False
        self._tries[slot] += 1
        return True

    def _slot(self, now_us: int) -> int:
        second = max(self._second, now_us // _SECOND_US)
        for passed in range(max(self._second + 1, second - WINDOW_S + 1), second + 1):
            self._requests[passed % WINDOW_S] = self._tries[passed % WINDOW_S] = 0
        self._second = second
        return second % WINDOW_S
