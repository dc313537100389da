"""Predictions and shares of the hold that write down what they are told and, of the shares, what they answer."""

from stoker.hold_shares import HoldShares
from stoker.model.function import Variant
from stoker.prediction import Predictions
from stoker.replay.gateway_records import Held, Room, Shares
from stoker.replay.journal import Journal
from stoker.replay.picture import picture
from stoker.replay.records import Finished, Forgot, Ran, Remembered, Reset, Started


class RecordedPredictions(Predictions):
    """What is asked of them is not written down here: who decides by an answer writes it with the decision."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def begin_file(self, journal: Journal) -> None:
        plain = Predictions()
        # Of the class itself, without the journal.
        plain._profiles, plain._calibration = self._profiles, self._calibration  # noqa: SLF001
        journal.put(Remembered(picture(plain)))

    def observe_exec(self, key: str, variant: Variant, product: str, us: int, in_flight: int = 1) -> None:
        super().observe_exec(key, variant, product, us, in_flight)
        if self._journal.open:
            self._journal.write(Ran(key, variant, product, us, in_flight))

    def observe_finish(self, key: str, percentile: float, predicted_us: int, actual_us: int) -> bool:
        covered = super().observe_finish(key, percentile, predicted_us, actual_us)
        if self._journal.open:
            self._journal.write(Finished(key, percentile, predicted_us, actual_us))
        return covered

    def observe_start(self, key: str, variant: Variant, us: int) -> None:
        super().observe_start(key, variant, us)
        if self._journal.open:
            self._journal.write(Started(key, variant, us))

    def reset(self, key: str) -> None:
        super().reset(key)
        if self._journal.open:
            self._journal.write(Reset(key))

    def forget(self, key: str) -> None:
        super().forget(key)
        if self._journal.open:
            self._journal.write(Forgot(key))


class RecordedShares(HoldShares):
    """The hold of one gateway, or what else it gives shares `of`."""

    def __init__(self, max_requests: int, max_bytes: int, of: str, journal: Journal) -> None:
        super().__init__(max_requests, max_bytes)
        self._of_what = of
        self._journal = journal

    def begin_file(self, journal: Journal) -> None:
        plain = HoldShares(0, 0)
        plain._free, plain._free_bytes, plain._of = self._free, self._free_bytes, self._of  # noqa: SLF001  as above
        journal.put(Shares(picture(plain), self._of_what))

    def full(self, namespace: str, body_bytes: int) -> bool:
        full = super().full(namespace, body_bytes)
        if self._journal.open:
            self._journal.write(Room(namespace, body_bytes, full, self._of_what))
        return full

    def add(self, namespace: str, count: int, size: int) -> None:
        super().add(namespace, count, size)
        if self._journal.open:
            self._journal.write(Held(namespace, count, size, self._of_what))
