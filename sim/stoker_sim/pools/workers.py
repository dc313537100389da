"""Workers of one tenant each, a device to itself: their start-up, their requests, and their end.

A worker that is killed finishes what it has and then frees its device; one that is started waits for a free device, in
order, then starts up, then runs the request that it was started for. As in the source (KaaS' pool, research notes 2.4)
a request that is queued keeps its turn, and others of a tenant that was found busy are not looked at again in that
round. There are no timeouts: KaaS has none.
"""

from collections import deque
from collections.abc import Sequence

from stoker.model.device import Device
from stoker.model.function import Variant
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.residence_log import ResidenceLog
from stoker_sim.pools.rules import PoolRules
from stoker_sim.workload import Workload

_NONE = -1


class Worker:
    """One process."""

    __slots__ = ("device", "doomed", "request", "row", "tenant")

    def __init__(self, tenant: int) -> None:
        self.tenant = tenant
        """Index of its function."""
        self.device = _NONE
        """Index of its device; -1 while it waits for one."""
        self.request = _NONE
        """The request that it has, running or to be run; -1: it is idle."""
        self.doomed = False
        """It was killed, and ends with its request."""
        self.row: list[int] = []


class WorkerPool:
    """See the module. `arrive(index)` is called for each request at its time."""

    def __init__(
        self,
        workload: Workload,
        devices: Sequence[Device],
        rules: PoolRules,
        *,
        agenda: Agenda,
        book: Book,
        log: ResidenceLog,
    ) -> None:
        self._keys = workload.keys
        self._behaviours = [function.behaviour for function in workload.functions]
        self._devices = devices
        self._rules = rules
        self._agenda = agenda
        self._book = book
        self._log = log
        self._started = agenda.kind(self._on_started)
        self._ended = agenda.kind(self._on_ended)
        self._free = list(range(len(devices)))[::-1]
        self._waiting: deque[Worker] = deque()
        self._workers: dict[str, list[Worker]] = {key: [] for key in self._keys}
        """Live ones by tenant."""
        self._pending: list[int] = []
        self.cold_starts = self.killed = 0

    def open(self, tenant: int) -> None:
        """A worker that is there from the beginning. There must be a free device."""
        worker = Worker(tenant)
        self._workers[self._keys[tenant]].append(worker)
        self._give_device(worker, self._free.pop())
        self._log.warm(worker.row, self._agenda.now_us)

    def arrive(self, index: int) -> None:
        """A request comes now."""
        self._pending.append(index)
        self._round()

    def _round(self) -> None:
        """Look at every queued request once, in order."""
        left, busy = [], set()
        for index in self._pending:
            tenant = self._book.function[index]
            if tenant in busy or not self._place(index, tenant):
                busy.add(tenant)
                left.append(index)
        self._pending = left

    def _place(self, index: int, tenant: int) -> bool:
        """Give the request a worker, if there is one or one may be started."""
        key, now_us = self._keys[tenant], self._agenda.now_us
        worker = next((w for w in self._workers[key] if w.request == _NONE), None)
        if worker is None:
            sizes = {name: len(workers) for name, workers in self._workers.items() if workers}
            start = self._rules.decide(key, sizes, len(self._devices))
            if start is None:
                return False
            if start.victim is not None:
                self._kill(start.victim)
            worker = self._start(tenant, index)
            self._book.cold[index] = True
        worker.request = index
        self._book.dispatch_us[index] = now_us
        self._book.running += 1
        if not self._book.cold[index]:
            self._run(worker)
        return True

    def _start(self, tenant: int, index: int) -> Worker:
        self.cold_starts += 1
        worker = Worker(tenant)
        worker.request = index
        self._workers[self._keys[tenant]].append(worker)
        if self._free:
            self._start_up(worker, self._free.pop())
        else:
            self._waiting.append(worker)
        return worker

    def _kill(self, victim: str) -> None:
        self.killed += 1
        workers = self._workers[victim]
        # Idle ones first, the newest of them; a busy one ends after its request.
        worker = next((w for w in reversed(workers) if w.request == _NONE), workers[-1])
        workers.remove(worker)
        worker.doomed = True
        if worker.request == _NONE:
            self._leave(worker)

    def _give_device(self, worker: Worker, device: int) -> None:
        worker.device = device
        place = self._devices[device]
        worker.row = self._log.begin(
            worker.tenant, Variant.GPU, place.id, self._agenda.now_us, place.memory_mib, exclusive=True
        )

    def _start_up(self, worker: Worker, device: int) -> None:
        self._give_device(worker, device)
        cold_us = self._behaviours[worker.tenant].cold_us
        self._agenda.at(self._agenda.now_us + cold_us, self._started, worker)

    def _on_started(self, worker: Worker) -> None:
        self._log.warm(worker.row, self._agenda.now_us)
        self._run(worker)

    def _run(self, worker: Worker) -> None:
        book, index, now_us = self._book, worker.request, self._agenda.now_us
        book.device[index] = worker.device
        book.start_us[index] = now_us - book.dispatch_us[index]
        behaviour, product = self._behaviours[worker.tenant], self._devices[worker.device].product
        ratio = (behaviour.exec_on(product) or behaviour.median_us) / behaviour.median_us
        self._agenda.at(now_us + max(1, round(book.exec_us[index] * ratio)), self._ended, worker)

    def _on_ended(self, worker: Worker) -> None:
        book, index, now_us = self._book, worker.request, self._agenda.now_us
        book.occupied_us[index] = now_us - book.dispatch_us[index]
        book.running -= 1
        worker.request = _NONE
        if worker.doomed:
            self._leave(worker)
        book.serve(index, now_us)
        self._round()

    def _leave(self, worker: Worker) -> None:
        self._log.end(worker.row, self._agenda.now_us)
        if self._waiting:
            self._start_up(self._waiting.popleft(), worker.device)
        else:
            self._free.append(worker.device)
