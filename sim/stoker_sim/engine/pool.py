"""Static residence and late binding: one queueing policy over the slots of all devices, no gateway and no replicas.

Every request of a fitting function may be popped for any device with a free slot. What is not resident there is made
so first, in the slot (stoker_sim.engine.residency); with static residence nothing ever is. Each push and each end
offers the devices concerned to the policy, as the agent does. Requests go to the primary variant.
"""

from stoker.control.capacity import needs_of
from stoker.model.device import Device, DeviceKind
from stoker.policies.queueing.interface import QueuePolicy, SlotView
from stoker.prediction import Predictions
from stoker.reasons import Outcome, Reason
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.execution import Execution, Run
from stoker_sim.engine.flows import Flow, Requests
from stoker_sim.engine.places import Places
from stoker_sim.engine.setup import BadSetup, Form, Knowledge, Setup
from stoker_sim.workload import Workload

_NEVER = 1 << 62


class PoolDevice:
    """One device: its free slots, and what may use them."""

    __slots__ = ("device", "flows", "free", "index", "is_reference", "product", "slots", "view")

    def __init__(self, device: Device, index: int, flows: list[Flow], slots: int) -> None:
        self.device = device
        self.index = index
        self.product = device.product
        self.slots = self.free = slots
        self.flows = flows
        self.is_reference = all(flow.is_reference(device.product) for flow in flows)
        """Whether its product is the reference product of all its flows, or as fast."""
        self.view = SlotView(device.id, frozenset(flow.key for flow in flows))


class Pool:
    """See the module. `arrive(index)` is called for each request at its time."""

    def __init__(
        self,
        workload: Workload,
        setup: Setup,
        *,
        agenda: Agenda,
        book: Book,
        policy: QueuePolicy,
        predictions: Predictions,
        residency: Places | None,
    ) -> None:
        """Raises BadSetup for a function that wants several devices at once."""
        self._agenda = agenda
        self._book = book
        self._policy = policy
        self._predictions = predictions
        self._learns = setup.knowledge is Knowledge.LEARNED
        self._residency = residency
        self._requests = Requests(book.exec_us, book.slo_us, setup.knowledge, predictions)
        self._execution = Execution(agenda, book, setup.slowdowns, self._ended)
        self._expire = agenda.kind(self._on_expiry)
        self._holds_back = not policy.guarantees.work_conserving
        self._again_us = -1
        self._again = agenda.kind(self._on_again)
        self._expiry_us = _NEVER
        self._waiting = 0
        self._flows = [
            Flow(index, function, function.definition.primary) for index, function in enumerate(workload.functions)
        ]
        self.devices: list[PoolDevice] = []
        self._homes: list[list[PoolDevice]] = [[] for _ in self._flows]
        """By function: where its requests may run."""
        for index, device in enumerate(setup.devices):
            flows = [flow for flow in self._flows if _fits(flow, device, setup.form)]
            home = PoolDevice(device, index, flows, _slots(device, setup.form))
            self.devices.append(home)
            for flow in flows:
                self._homes[flow.index].append(home)
        self._by_key = {flow.key: flow for flow in self._flows}
        for flow, homes in zip(self._flows, self._homes, strict=True):
            flow.place([home.device for home in homes])
        if residency is not None:
            for home in self.devices:
                residency.open(home.device, home.flows)

    def arrive(self, index: int) -> None:
        """A request comes now."""
        function = self._book.function[index]
        homes = self._homes[function]
        now_us = self._agenda.now_us
        if not homes:
            self._book.end(index, Outcome.REFUSED, Reason.NO_FITTING_DEVICE, now_us)
            return
        request = self._requests.make(index, self._flows[function], now_us)
        self._policy.push(request)
        self._waiting += 1
        if request.timeout_us < self._expiry_us:
            self._expiry_us = request.timeout_us
            self._agenda.at(request.timeout_us, self._expire, None)
        if len(homes) == 1:
            if homes[0].free > 0:
                self._offer(homes[0], now_us)
            return
        free = [home for home in homes if home.free > 0]
        if len(free) > 1:
            # Where it is resident first, then the least loaded one.
            residency, key = self._residency, request.flow
            free.sort(
                key=lambda home: (
                    residency is not None and not residency.is_warm(home.index, key),
                    home.slots - home.free,
                )
            )
        for home in free:
            self._offer(home, now_us)
            if not self._waiting or self._book.dispatch_us[index] >= 0:
                break

    def _offer(self, home: PoolDevice, now_us: int) -> None:
        policy, residency, book = self._policy, self._residency, self._book
        while self._waiting and home.free > 0:
            view = home.view if residency is None else residency.view(home.index)
            request = policy.pop(view, now_us)
            if request is None:
                if self._holds_back:
                    self._expect_again(now_us)
                return
            self._waiting -= 1
            index = int(request.id)
            if request.timeout_us <= now_us:
                policy.done(request, 0)
                book.end(index, Outcome.EXPIRED, Reason.TIMEOUT, now_us)
                continue
            book.dispatch_us[index] = now_us
            book.device[index] = home.index
            book.running += 1
            home.free -= 1
            run = Run(request, index, home, home.index, now_us, now_us)
            flow = self._by_key[request.flow]
            work_us = book.exec_us[index]
            if not home.is_reference:
                work_us = flow.work_us(work_us, home.product)
            if residency is None:
                self._execution.begin(run, work_us, flow.interference)
            else:
                self._load(run, flow, work_us, residency)

    def _expect_again(self, now_us: int) -> None:
        due_us = self._policy.next_ready_us(now_us)
        if due_us is not None and not now_us < self._again_us <= due_us:
            self._again_us = due_us
            self._agenda.at(due_us, self._again, None)

    def _on_again(self, _: None) -> None:
        """The policy may give what it held back."""
        now_us = self._agenda.now_us
        if now_us == self._again_us:
            for home in self.devices:
                self._offer(home, now_us)

    def _load(self, run: Run, flow: Flow, work_us: int, residency: Places) -> None:
        """Make its function resident in the slot, where it is not."""
        home: PoolDevice = run.place
        copy = residency.take(home.index, flow)
        run.place = (home, copy)
        if copy.ready:
            self._execution.begin(run, work_us, flow.interference)
            return
        self._book.cold[run.index] = True
        self._execution.watch_timeout(run)

        def ready(_: None) -> None:
            self._execution.begin(run, work_us, flow.interference)
            if flow.concurrency > 1 and self._waiting:
                self._offer(home, self._agenda.now_us)

        residency.load(copy, ready)

    def _ended(self, run: Run) -> None:
        now_us, book, index, residency = self._agenda.now_us, self._book, run.index, self._residency
        home: PoolDevice
        if residency is None:
            home = run.place
        else:
            home, copy = run.place
            residency.give_back(copy)
            book.start_us[index] = run.begun_us - run.dispatched_us
        home.free += 1
        book.running -= 1
        book.occupied_us[index] = took_us = now_us - run.dispatched_us
        self._policy.done(run.request, took_us)
        if self._learns:
            flow = self._flows[book.function[index]]
            exec_us = now_us - run.begun_us
            self._predictions.observe_exec(flow.definition.key, flow.variant, home.product, exec_us)
        if self._waiting:
            self._offer(home, now_us)

    def _on_expiry(self, _: None) -> None:
        now_us = self._agenda.now_us
        if now_us < self._expiry_us:
            return  # an earlier one was put down since, and then this one again
        for request in self._policy.drop_expired(now_us):
            self._waiting -= 1
            self._book.end(int(request.id), Outcome.EXPIRED, Reason.TIMEOUT, now_us)
        due_us = self._policy.next_expiry_us()
        self._expiry_us = _NEVER if due_us is None else due_us
        if due_us is not None:
            self._agenda.at(due_us, self._expire, None)


def _fits(flow: Flow, device: Device, form: Form) -> bool:
    """Whether an empty device could hold the function (static residence looks at no memory)."""
    if not flow.could_run_on(device):
        return False
    needs = needs_of(flow.definition, flow.variant)
    if any(need.count > 1 for need in needs):
        raise BadSetup(f"{flow.definition.key} wants several devices at once; the form {form.value} has no such runs")
    return form is Form.STATIC or any(need.could_use(device) for need in needs)


def _slots(device: Device, form: Form) -> int:
    """Concurrent executions. Cores are counted by what copies hold of them, or one for each execution."""
    if device.kind is DeviceKind.GPU:
        return device.slots
    return device.millicores if form is Form.LATE_BINDING else max(1, device.millicores // 1000)
