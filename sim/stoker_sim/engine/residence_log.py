"""Who holds device memory, written down while it happens."""

import numpy as np

from stoker.model.function import Variant
from stoker_sim.outcomes import VARIANTS, Residence


class ResidenceLog:
    """Rows of Residence, while they are open and after."""

    def __init__(self, device_ids: list[str]) -> None:
        self._devices = {device_id: index for index, device_id in enumerate(device_ids)}
        self._rows: list[list[int]] = []

    def begin(
        self, function: int, variant: Variant, device_id: str, now_us: int, memory_mib: int, *, exclusive: bool = False
    ) -> list[int]:
        """Somebody takes memory; the row for warm() and end()."""
        row = [function, VARIANTS.index(variant), self._devices[device_id], now_us, -1, -1, memory_mib, int(exclusive)]
        self._rows.append(row)
        return row

    @staticmethod
    def warm(row: list[int], now_us: int) -> None:
        """It can serve now."""
        row[4] = now_us

    @staticmethod
    def end(row: list[int], now_us: int) -> None:
        """It gave the memory back."""
        row[5] = now_us

    def close(self, end_us: int) -> Residence:
        """All rows; those that are open end now."""
        rows = np.asarray(self._rows, np.int64).reshape(-1, 8)
        ends_us = np.where(rows[:, 5] < 0, end_us, rows[:, 5])
        return Residence(
            rows[:, 0].astype(np.int32),
            rows[:, 1].astype(np.int8),
            rows[:, 2].astype(np.int32),
            rows[:, 3].copy(),
            rows[:, 4].copy(),
            ends_us,
            rows[:, 6].copy(),
            rows[:, 7].astype(np.bool_),
        )
