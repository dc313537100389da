"""Why pods were put where they were: the newest decisions, in a ring, for `/v1/explain` and the log."""

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from stoker.placement.scoring import Score

SHOWN_NODES = 100
"""Rejections and scores kept per decision; with thousands of nodes the rest says the same."""


class Rejected(Struct, frozen=True, kw_only=True, rename="camel"):
    """A node that cannot hold the pod."""

    node: str
    reason: str
    detail: str


class Scored(Struct, frozen=True, kw_only=True, rename="camel"):
    """A node that can, with its score and what it came from."""

    node: str
    score: Score


class Explanation(Struct, frozen=True, kw_only=True, rename="camel"):
    """The last thing decided about one pod."""

    pod: str
    """`namespace/name`."""
    uid: str
    """Names are used again."""
    function: str
    tries: int
    passed: int
    rejected_in_all: int
    rejected: tuple[Rejected, ...] = ()
    scores: tuple[Scored, ...] = ()
    """Best first; empty while none passed, or kube-scheduler has not asked for scores."""


class Explanations:
    """The newest `kept` pods that were asked about."""

    def __init__(self, kept: int = 2_000) -> None:
        self._kept = kept
        self._by_pod: OrderedDict[str, Explanation] = OrderedDict()

    def filtered(self, pod: str, uid: str, function: str, passed: int, rejected: Sequence[Rejected]) -> None:
        """One call of the filter."""
        before = self._by_pod.pop(pod, None)
        tries = before.tries if before is not None and before.uid == uid else 0
        self._by_pod[pod] = Explanation(
            pod=pod,
            uid=uid,
            function=function,
            tries=tries + 1,
            passed=passed,
            rejected_in_all=len(rejected),
            rejected=tuple(rejected[:SHOWN_NODES]),
        )
        while len(self._by_pod) > self._kept:
            self._by_pod.popitem(last=False)

    def scored(self, pod: str, uid: str, scores: Sequence[Scored]) -> None:
        """The scores that followed, best first."""
        before = self._by_pod.get(pod)
        if before is not None and before.uid == uid:
            self._by_pod[pod] = replace(before, scores=tuple(scores[:SHOWN_NODES]))

    def get(self, pod: str) -> Explanation | None:
        """The last decision about a pod (`namespace/name`)."""
        return self._by_pod.get(pod)
