"""The common form of a workload: functions as they are declared and as they really behave, and who arrives when.

Loaders and generators make it; the engine, the bound and the reports read it. It knows no file format, no policy and
no device. Times are integer microseconds from the start of the workload. Policies see `SimFunction.definition` only.
"""

from collections.abc import Collection

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr, replace
from numpy.typing import NDArray

from stoker.errors import StokerError
from stoker.model.function import Function
from stoker_sim.draws import key_of, uniforms

Times = NDArray[np.int64]
Indexes = NDArray[np.int32]

ANY = "any"
"""In Behaviour.exec_us: every GPU product that is not named."""
CPU = "cpu"
"""In Behaviour.exec_us: the CPU variant."""

NOT_COUNTED: Indexes = np.empty(0, np.int32)
"""Workload.number before it is known."""


class BadWorkload(StokerError):  # noqa: N818  the name states the fact
    """Parts of a workload do not fit together. The text says which."""


class Behaviour(Struct, frozen=True, kw_only=True):
    """How a function really behaves; a policy finds out by serving it."""

    exec_us: dict[str, int]
    """Isolated warm execution time of its median request by product, as in `A100`, ANY or CPU. The first entry is the
    reference product, on which Workload.exec_us counts; other products scale by the ratio."""
    cold_us: int
    """From cold to warm, the image being on the node."""
    resume_us: int = 0
    """From hibernated to warm on an idle bus; 0 for a function that is never hibernated."""
    swap_mib: int = 0
    """What such a swap moves over the bus."""
    interference: str = ""
    """Its class in the co-location table; empty for none."""

    @property
    def reference(self) -> str:
        return next(iter(self.exec_us))

    @property
    def median_us(self) -> int:
        """On the reference product."""
        return self.exec_us[self.reference]

    def exec_on(self, product: str) -> int | None:
        """Of its median request on a product; `A100-40GB` counts as `A100`, any GPU as ANY. None: not known there."""
        exact = self.exec_us.get(product)
        if exact is not None or product == CPU:
            return exact
        family = self.exec_us.get(product.partition("-")[0])
        return self.exec_us.get(ANY) if family is None else family


class SimFunction(Struct, frozen=True, kw_only=True):
    definition: Function
    """The very object that plan(), admission and the policies take."""
    behaviour: Behaviour

    @property
    def key(self) -> str:
        return self.definition.key


class ClosedLoop(Struct, frozen=True, kw_only=True):
    """Clients that wait for their answer, think, and ask again: the engine drives them by generate.closed_loop."""

    function: int
    """Index into Workload.functions."""
    clients: int
    """Requests that are outstanding at most."""
    think_us: int = 0
    """Mean of the exponential time between an answer and the next request; 0: at once."""
    p99_over_p50: float = 1.0
    """Spread of the execution times around Behaviour.median_us; 1: always the median."""
    seed: int = 0


class Workload(Struct, frozen=True, kw_only=True, eq=False):
    """Requests in the order of their arrival, as columns; raises BadWorkload for what does not fit together.

    The columns are read-only views of the arrays given.
    """

    functions: tuple[SimFunction, ...]
    time_us: Times
    """Arrivals, sorted, from 0 up to `horizon_us`."""
    function: Indexes
    """Whose each is: index into `functions`."""
    exec_us: Times
    """Isolated warm execution time of each on the reference product of its function."""
    horizon_us: int
    """The end of the observed time: arrivals come before it."""
    slo_us: Times | None = None
    """Objective of each; None: the function's."""
    number: Indexes = NOT_COUNTED
    """Which request of its function each is, from 0. It stays when requests are left out, so that what is drawn by
    (function, number) is the same in both. Counted here where it is not given."""
    closed: tuple[ClosedLoop, ...] = ()
    source: str = ""
    arrival_notes: tuple[str, ...] = ()
    function_notes: tuple[str, ...] = ()
    """Defaults and assumptions about when requests come, and about what functions are: one sentence each."""

    def __post_init__(self) -> None:
        if len(self.number) != len(self.time_us) and len(self.number) == 0:
            force_setattr(self, "number", numbered(self.function, len(self.functions)))
        _check(self)
        for name in ("time_us", "function", "exec_us", "slo_us", "number"):
            column = getattr(self, name)
            if column is not None:
                view = column.view()
                view.flags.writeable = False
                force_setattr(self, name, view)

    def __len__(self) -> int:
        return len(self.time_us)

    @property
    def notes(self) -> tuple[str, ...]:
        """Every default and assumption that a report must print."""
        return self.arrival_notes + self.function_notes

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(function.key for function in self.functions)

    def exec_on(self, product: str) -> Times:
        """Isolated warm execution time of each request on a product; 0 for those of functions not known there."""
        ratio = np.array([(f.behaviour.exec_on(product) or 0) / f.behaviour.median_us for f in self.functions], float)
        scaled = np.rint(self.exec_us * ratio[self.function])
        return np.where(ratio[self.function] > 0, np.maximum(scaled, 1), 0).astype(np.int64)

    def objectives_us(self) -> Times:
        """The objective of each request, its own or its function's."""
        if self.slo_us is not None:
            return self.slo_us
        of_function = np.array([f.definition.spec.slo.latency_us for f in self.functions], np.int64)
        return of_function[self.function]

    def slice(self, begin_us: int, end_us: int) -> "Workload":
        """The requests from `begin_us` up to before `end_us`; time counts from `begin_us` in the result."""
        if not 0 <= begin_us < end_us:
            raise BadWorkload(f"a slice from {begin_us} to {end_us} us is empty; give 0 <= begin < end")
        first, last = np.searchsorted(self.time_us, [begin_us, end_us])
        part = self._taken(np.arange(first, last))
        return replace(part, time_us=part.time_us - begin_us, horizon_us=min(end_us, self.horizon_us) - begin_us)

    def thinned(self, share: float, seed: int = 0) -> "Workload":
        """A random share of the requests, drawn by (seed, function, number): a smaller share is part of a larger."""
        if not 0 < share <= 1:
            raise BadWorkload(f"a share of {share:g} cannot be kept; give one above 0 and at most 1")
        keys = np.array([key_of(seed, "thin", key) for key in self.keys], np.uint64)
        kept = np.flatnonzero(uniforms(keys[self.function], self.number) < share)
        note = f"a random {share:.3g} of the requests (seed {seed})"
        return replace(self._taken(kept), arrival_notes=(*self.arrival_notes, note))

    def scaled(self, factor: float) -> "Workload":
        """The same requests in 1/factor of the time, so that the load is `factor` times as high."""
        if not (np.isfinite(factor) and factor > 0):
            raise BadWorkload(f"the load cannot be scaled by {factor:g}; give a factor above 0")
        return replace(
            self,
            time_us=np.floor(self.time_us / factor).astype(np.int64),
            horizon_us=int(self.horizon_us / factor) + 1,
            arrival_notes=(*self.arrival_notes, f"time compressed by {factor:.6g}"),
        )

    def only(self, keys: Collection[str]) -> "Workload":
        """The requests of these functions (`namespace/name`), and no other function."""
        wanted = frozenset(keys)
        unknown = sorted(wanted - set(self.keys))
        if unknown:
            raise BadWorkload(f"there is no function {unknown[0]}")
        indexes = [index for index, key in enumerate(self.keys) if key in wanted]
        new_index = np.full(len(self.functions), -1, np.int32)
        new_index[indexes] = np.arange(len(indexes), dtype=np.int32)
        part = self._taken(np.flatnonzero(new_index[self.function] >= 0))
        return replace(
            part,
            functions=tuple(self.functions[index] for index in indexes),
            function=new_index[part.function],
            closed=tuple(
                replace(loop, function=int(new_index[loop.function]))
                for loop in self.closed
                if new_index[loop.function] >= 0
            ),
        )

    def with_objectives(self, factor: float) -> "Workload":
        """The same with objectives of `factor` times the isolated warm median of each function (DESIGN 7)."""
        return replace(
            self,
            functions=tuple(_with_objective(function, factor) for function in self.functions),
            slo_us=None,
            function_notes=(
                *self.function_notes,
                f"objectives are {factor:g} times the isolated warm median of each function",
            ),
        )

    def _taken(self, indexes: NDArray[np.int64]) -> "Workload":
        return replace(
            self,
            time_us=self.time_us[indexes],
            function=self.function[indexes],
            exec_us=self.exec_us[indexes],
            slo_us=None if self.slo_us is None else self.slo_us[indexes],
            number=self.number[indexes],
        )


def numbered(function: Indexes, functions: int) -> Indexes:
    """For each request, how many of its function came before it."""
    order = np.argsort(function, kind="stable")
    begins = np.searchsorted(function[order], np.arange(functions))
    numbers = np.empty(len(function), np.int32)
    numbers[order] = np.arange(len(function)) - begins[function[order]] if functions else 0
    return numbers


def _with_objective(function: SimFunction, factor: float) -> SimFunction:
    spec = function.definition.spec
    latency_us = max(1, round(factor * function.behaviour.median_us))
    return replace(
        function,
        definition=replace(
            function.definition,
            spec=replace(
                spec,
                slo=replace(spec.slo, latency_us=latency_us, classes={}),
                timeout_us=max(spec.timeout_us, latency_us),
            ),
        ),
    )


def _check(work: Workload) -> None:
    count, functions = len(work.time_us), len(work.functions)
    if not functions:
        raise BadWorkload("a workload needs at least one function")
    keys = work.keys
    if len(set(keys)) != functions:
        raise BadWorkload(f"{next(key for key in keys if keys.count(key) > 1)} is there twice")
    for name, kind in (("time_us", np.int64), ("function", np.int32), ("exec_us", np.int64), ("number", np.int32)):
        column = getattr(work, name)
        if column.shape != (count,) or column.dtype != kind:
            raise BadWorkload(f"{name} is not {count} values of {np.dtype(kind)} but {column.shape} of {column.dtype}")
    if work.slo_us is not None:
        if work.slo_us.shape != (count,) or work.slo_us.dtype != np.int64:
            raise BadWorkload(f"slo_us is not {count} values of int64")
        _refuse(work.slo_us <= 0, "the objective of request {} is not above 0")
    for function in work.functions:
        behaviour = function.behaviour
        if not behaviour.exec_us or min(behaviour.exec_us.values()) <= 0:
            raise BadWorkload(f"{function.key} needs execution times above 0, by product")
        if min(behaviour.cold_us, behaviour.resume_us, behaviour.swap_mib) < 0:
            raise BadWorkload(f"{function.key} has a start-up time or a swap size below 0")
    if any(not 0 <= loop.function < functions or loop.clients < 1 or loop.think_us < 0 for loop in work.closed):
        raise BadWorkload("a closed loop names no function, or has no client, or thinks for less than no time")
    _refuse(np.diff(work.time_us, prepend=0) < 0, "request {} comes before the one before it (or before 0)")
    _refuse(work.time_us >= work.horizon_us, f"request {{}} comes at or after the horizon of {work.horizon_us} us")
    _refuse((work.function < 0) | (work.function >= functions), "request {} is of no function")
    _refuse(work.exec_us <= 0, "the execution time of request {} is not above 0")


def _refuse(wrong: NDArray[np.bool_], sentence: str) -> None:
    if wrong.any():
        raise BadWorkload(sentence.format(int(wrong.argmax())))
