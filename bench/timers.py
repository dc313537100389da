"""How late a held request is answered 504 after its timeout."""

import time
import urllib.error
import urllib.request

from bench.targets import Stoker

TIMEOUT_MS = 300


def hold_lateness_ms(target: Stoker, requests: int = 20) -> list[float]:
    """Call a function that never gets ready; milliseconds from its timeout to the end of each 504."""
    late = []
    for _ in range(requests):
        begin = time.perf_counter()
        try:
            urllib.request.urlopen(f"{target.base}/slow/", timeout=10).read()
        except urllib.error.HTTPError as answer:
            answer.read()
            if answer.code != 504:
                raise
        late.append((time.perf_counter() - begin) * 1000 - TIMEOUT_MS)
    return late
