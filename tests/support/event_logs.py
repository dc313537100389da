"""Event logs in memory, and a scripted agent that asks a Decider as a live one does."""

import random
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from stoker.decider import Decider
from stoker.model.device import Device
from stoker.model.function import Function, Priority, Variant
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueueParams, QueuePolicy, SlotView, Weights
from stoker.policies.queueing.lanes import Lane, Room
from stoker.prediction import Predictions
from stoker.replay.journal import PART_BYTES, Journal
from stoker.replay.recorder import Recorder
from stoker.replay.replayer import Replayed, replay
from stoker.slots.forecast import Rule, Sight
from stoker.slots.verdict import bind
from stoker.testing.builders import make_function, make_gpu

PRODUCT = "A100-40GB"


class Files:
    """A sink that keeps the lines of each file; `full_after` of them it takes no more."""

    def __init__(self, full_after: int | None = None) -> None:
        self.files: list[list[bytes]] = [[]]
        self.stopped = ""
        self._left = full_after

    @property
    def lines(self) -> list[bytes]:
        """Of a log that has one file."""
        (lines,) = self.files
        return lines

    def write(self, line: bytes) -> bool:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self.stopped = "it is full"
        if not self.stopped:
            self.files[-1].append(line)
        return not self.stopped

    def next_file(self) -> bool:
        self.files.append([])
        return True

    def stop(self, why: str) -> None:
        self.stopped = why


def recording(
    files: Files, devices: tuple[Device, ...] = (), part_bytes: int = PART_BYTES, clock_us: Callable[[], int] = int
) -> Recorder:
    journal = Journal(
        files, clock_us=clock_us, wall_us=int, version="test", devices=devices or (make_gpu(),), part_bytes=part_bytes
    )
    return Recorder(journal, clock_us)


class ScriptedAgent:
    """Requests of some functions judged, queued, run and given up at random, on slots that come and go."""

    def __init__(self, decider: Decider, queueing: str, seed: int = 1, params: QueueParams | None = None) -> None:
        self.decider = decider
        self.chance = random.Random(seed)
        self.now_us = 1_000
        self.functions = [
            make_function(f"f{number}", namespace=f"team-{number % 2}", latency_us=40 + 30 * number, timeout_us=400)
            for number in range(5)
        ]
        self.predictions: Predictions = decider.make_predictions()
        self.policy: QueuePolicy = decider.make_queueing(queueing, params or QueueParams(seed=7, slots=2))
        self.policy.set_weights(Weights({"team-1/f1": 3}, {"team-0": 2}))
        self._arrange(self.functions[:4])
        self.queued: dict[str, QueuedRequest] = {}
        self.running: list[QueuedRequest] = []
        self.popped: list[str] = []
        self._count = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.now_us += self.chance.randint(0, 12)
            for _ in range(self.chance.choice((0, 1, 1, 2))):
                self._ask()
            self._offer(f"sim-{self.chance.randint(0, 1)}")
            if self.running and self.chance.random() < 0.8:
                self._end(self.running.pop(self.chance.randrange(len(self.running))))
            self._odd()

    def exchange(self, name: str) -> None:
        self.policy = self.decider.exchange(self.policy, name, QueueParams(seed=3))
        self._arrange(self.functions)

    def _ask(self) -> None:
        function = self.chance.choice(self.functions)
        product = self.chance.choice((PRODUCT, None))
        self._count += 1
        request = self._request(function, f"r{self._count}", product)
        taken_late = self.chance.random() < 0.5
        sight = None if taken_late else self._sight(function)
        verdict = self.decider.judge(
            function,
            request,
            sight,
            product=product,
            in_flight=self._count % 3 + 1,
            policy=self.policy,
            accepting=self._count % 40 > 0,
        )
        if verdict.refusal is None:
            bind(request, verdict)
            for shed in verdict.shed:
                assert self.policy.cancel(shed) is self.queued.pop(shed)
            if self.chance.random() < 0.1:
                request.id += "#1"  # as where two gateways try the same request here
            self._push(request)

    def _request(self, function: Function, identity: str, product: str | None) -> QueuedRequest:
        spec = function.spec
        return QueuedRequest(
            id=identity,
            flow=function.key,
            variant=Variant.GPU,
            arrival_us=self.now_us,
            objective_us=self.now_us + spec.slo.latency_us,
            timeout_us=self.now_us + spec.timeout_us,
            predicted_exec_us=self.predictions.exec_us(function, Variant.GPU, product, self._count % 3 + 1).us,
            start_us=self.chance.choice((0, 6)),
            priority=self.chance.choice(list(Priority)),
            late_ok=self.chance.random() < 0.5,
        )

    def _sight(self, function: Function) -> Sight:
        kind = self.chance.randrange(4)
        flows = frozenset({function.key, self.functions[0].key})
        found = Sight(flows=flows, starting=1, start_us=self.predictions.start_us(function, Variant.GPU).us)
        if kind == 0:
            found = Sight(free=True, explores=self.chance.random() < 0.2)
        elif kind == 1:
            found = Sight(flows=flows, servers=2, remaining_us=(5, 9), promised_us=3)
        elif self.policy.commitments is not None and function.key in self.policy.commitments.lanes:
            lane = self.policy.commitments.lanes[function.key]
            found = Sight(rooms=((lane, Room(lane.servers, (3, 7))),), limit_us=self.chance.choice((None, 40)))
        return replace(
            found,
            margin_ppm=max(0, self.predictions.margin_ppm(function.key, 99.0)),
            takes_late=self.chance.random() < 0.5,
            observes=self.chance.random() < 0.1,
            rule=self.chance.choice((Rule.SCHEDULE, Rule.SCHEDULE, Rule.UTILISATION)),
        )

    def _arrange(self, functions: list[Function]) -> None:
        lane = Lane("sim-0", ("sim-0", "sim-1"), 2)
        self.policy.arrange({function.key: lane for function in functions})

    def _push(self, request: QueuedRequest) -> None:
        self.policy.push(request)
        self.queued[request.id] = request

    def _offer(self, device: str) -> None:
        keys = [function.key for function in self.functions]
        eligible = self.chance.sample(keys, self.chance.randint(1, len(keys)))
        warm = None if self.chance.random() < 0.6 else frozenset(eligible[::2])
        request = self.policy.pop(SlotView(device, dict.fromkeys(eligible).keys(), warm), self.now_us)
        if request is None:
            self.policy.next_ready_us(self.now_us)
            return
        self.popped.append(request.id)
        del self.queued[request.id]
        if self.chance.random() < 0.05:
            # Its replica took no connection: it comes again with the arrival of before.
            self.policy.done(request, 0)
            self._push(request)
        else:
            self.running.append(request)

    def _end(self, request: QueuedRequest) -> None:
        took_us = self.chance.randint(1, 25)
        self.policy.done(request, took_us)
        self.predictions.observe_exec(request.flow, Variant.GPU, PRODUCT, took_us, self.chance.randint(1, 9))
        self.predictions.observe_finish(request.flow, 99.0, request.predicted_exec_us, took_us)

    def _odd(self) -> None:
        """What happens now and then."""
        dice = self.chance.randrange(40)
        function = self.chance.choice(self.functions)
        if dice == 0 and self.queued:
            identity = self.chance.choice(sorted(self.queued))
            assert self.policy.cancel(identity) is self.queued.pop(identity)
        elif dice == 1:
            assert self.policy.cancel("nobody") is None
        elif dice < 5:
            for expired in self.policy.drop_expired(self.now_us):
                del self.queued[expired.id]
        elif dice == 5:
            self.predictions.observe_start(function.key, Variant.GPU, self.chance.randint(50, 90))
        elif dice == 6:
            self.predictions.reset(function.key)
        elif dice == 7:
            self.predictions.forget(function.key)
        elif dice == 8:
            self.policy.set_weights(Weights({function.key: self.chance.randint(1, 4)}))
        elif dice == 9:
            self._arrange(self.chance.sample(self.functions, 3))
        elif dice < 12:
            one_more = self._request(function, "", None)
            self.policy.work_ahead_us(one_more, {function.key, "team-0/f0"})


def replayed(lines: list[bytes]) -> Replayed:
    """Of a file that must hold no difference."""
    found = replay(lines)
    assert found.difference is None, found.difference
    return found


def changed(line: bytes, **fields: object) -> bytes:
    """The line with other values in it."""
    return msgspec.json.encode({**msgspec.json.decode(line), **fields}) + b"\n"
