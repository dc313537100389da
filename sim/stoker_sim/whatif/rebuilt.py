"""A workload made of a log: the requests that came, with the times that were measured, and drawn ones where none was.

A request that never ran (refused, expired) takes what another one of its function took, drawn by the seed. Each block
of time may be filled with what came in it or in one close to it: the local block bootstrap (E. Paparoditis and
D. N. Politis, C. R. Acad. Sci. Paris 335, 2002), which keeps bursts and the rise and fall of the load.
"""

from statistics import median

import numpy as np
from numpy.typing import NDArray

from stoker.model.function import Function, Variant
from stoker.prediction import EXEC_PRIOR_CAP_US, START_PRIOR_CAP_US
from stoker_sim.draws import key_of, uniforms
from stoker_sim.whatif.change import Ratios
from stoker_sim.whatif.logged import Logged
from stoker_sim.workload import ANY, CPU, Behaviour, SimFunction, Workload

Counts = NDArray[np.int64]

BLOCKS = 60
"""Of a log (ours)."""
NEAR = 3
"""How many blocks before or behind one may fill it (ours)."""
LEAST_BLOCK_US = 100_000


class Rebuilt:
    """All that can be learnt of the log once; workload() makes one of it."""

    def __init__(self, logged: Logged) -> None:
        self._logged = logged
        product_of = {device.id: device.product for device in logged.devices}
        self.keys = tuple(sorted({request.function for request in logged.requests}))
        index = {key: number for number, key in enumerate(self.keys)}
        self._medians_us = {key: self._medians(logged.functions[key]) for key in self.keys}
        self.assumed_exec = tuple(key for key in self.keys if not self._times_of(key))
        self.assumed_start = tuple(
            key for key in self.keys if (key, logged.functions[key].primary) not in logged.starts_us
        )
        self.arrival_us: Counts = np.array([request.arrival_us for request in logged.requests], np.int64)
        self.function = np.array([index[request.function] for request in logged.requests], np.int32)
        self.slo_us: Counts = np.array([request.latency_us for request in logged.requests], np.int64)
        self._took_us: Counts = np.array(
            [
                self._on_reference(request.function, product_of.get(request.device, ""), request.took_us)
                for request in logged.requests
            ],
            np.int64,
        )
        """On the function's reference product; 0 where it never ran."""

    def workload(self, seed: int, ratios: dict[str, tuple[str, Ratios]]) -> Workload:
        """Replication `seed`; 0 is the log as it was. `ratios`: by new product the old one, and how times compare."""
        rows = np.arange(len(self.arrival_us))
        time_us = self.arrival_us
        if seed:
            rows, time_us = self._in_blocks(seed)
        order = np.argsort(time_us, kind="stable")
        rows, time_us = rows[order], time_us[order]
        function = self.function[rows]
        return Workload(
            functions=tuple(self._sim_function(key, seed, ratios) for key in self.keys),
            time_us=time_us,
            function=function,
            exec_us=self._filled(rows, seed),
            slo_us=self.slo_us[rows],
            horizon_us=self._logged.horizon_us,
            source="event log",
        )

    def _in_blocks(self, seed: int) -> tuple[Counts, Counts]:
        """Rows, and when each comes."""
        length_us = max(LEAST_BLOCK_US, self._logged.horizon_us // BLOCKS)
        count = -(-self._logged.horizon_us // length_us)
        steps = uniforms(key_of(seed, "blocks", ""), np.arange(count)) * (2 * NEAR + 1)
        of_row = self.arrival_us // length_us
        rows, times = [], []
        for place, step in enumerate(steps.astype(np.int64).tolist()):
            # At the ends what lies outside is mirrored.
            block = abs(place + step - NEAR)
            block = min(block, max(0, 2 * (count - 1) - block))
            mine = np.flatnonzero(of_row == block)
            rows.append(mine)
            times.append(self.arrival_us[mine] + (place - block) * length_us)
        row, time_us = np.concatenate(rows), np.concatenate(times)
        inside = time_us < self._logged.horizon_us
        return row[inside], time_us[inside]

    def _filled(self, rows: Counts, seed: int) -> Counts:
        took_us = self._took_us[rows].copy()
        for number, key in enumerate(self.keys):
            known = self._took_us[(self.function == number) & (self._took_us > 0)]
            missing = np.flatnonzero((self.function[rows] == number) & (took_us == 0))
            if len(known):
                drawn = uniforms(key_of(seed, "took", key), missing) * len(known)
                took_us[missing] = known[drawn.astype(np.int64)]
            else:
                took_us[missing] = self._reference(key)[1]
        return took_us

    def _sim_function(self, key: str, seed: int, ratios: dict[str, tuple[str, Ratios]]) -> SimFunction:
        definition = self._logged.functions[key]
        reference, reference_us = self._reference(key)
        exec_us = {reference: reference_us, **self._medians_us[key]}
        exec_us.setdefault(ANY, reference_us)
        exec_us.setdefault(CPU, reference_us)
        for new, (old, its) in ratios.items():
            ratio = its.middle if seed == 0 else its.drawn(seed, key)
            exec_us[new] = max(1, round(exec_us.get(old, reference_us) * ratio))
        return SimFunction(
            definition=definition, behaviour=Behaviour(exec_us=exec_us, cold_us=self._start_us(definition))
        )

    def _start_us(self, definition: Function) -> int:
        seen = self._logged.starts_us.get((definition.key, definition.primary))
        if seen:
            return round(median(seen))
        limit_us = definition.container_of(definition.primary).startup_timeout_us
        return max(1, min(limit_us, START_PRIOR_CAP_US))

    def _times_of(self, key: str) -> dict[str, list[int]]:
        """What its runs took, by product."""
        return {product: times for (name, _, product), times in self._logged.execs_us.items() if name == key}

    def _medians(self, definition: Function) -> dict[str, int]:
        found = self._times_of(definition.key)
        # Of its primary variant first: the first product is the one that times are counted on.
        first = CPU if definition.primary is Variant.CPU else ""
        order = sorted(found, key=lambda product: (product != first if first else product == CPU, product))
        return {product: max(1, round(median(found[product]))) for product in order}

    def _reference(self, key: str) -> tuple[str, int]:
        """The product that the function's times are counted on, and its median there."""
        medians = self._medians_us[key]
        if medians:
            return next(iter(medians.items()))
        definition = self._logged.functions[key]
        prior_us = max(1, min(definition.spec.slo.latency_us // 2, EXEC_PRIOR_CAP_US))
        return (CPU if definition.primary is Variant.CPU else ANY), prior_us

    def _on_reference(self, key: str, product: str, took_us: int | None) -> int:
        if not took_us:
            return 0
        there_us = self._medians_us[key].get(product)
        return took_us if there_us is None else max(1, round(took_us * self._reference(key)[1] / there_us))
