"""simulate(): a workload and a setup in, what became of every request out. Composes the parts and nothing else."""

from collections.abc import Callable
from itertools import islice

from msgspec.structs import replace

from stoker.policies.eviction.interface import EvictionParams
from stoker.policies.eviction.registry import make_eviction
from stoker.prediction import Predictions
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.clients import Clients
from stoker_sim.engine.host import Host
from stoker_sim.engine.money import Money
from stoker_sim.engine.policies import make_policy
from stoker_sim.engine.pool import Pool
from stoker_sim.engine.replicas import Platform
from stoker_sim.engine.residence_log import ResidenceLog
from stoker_sim.engine.residency import Residency
from stoker_sim.engine.returns import Returns
from stoker_sim.engine.setup import Form, Setup
from stoker_sim.outcomes import Outcomes
from stoker_sim.workload import Workload


def simulate(
    workload: Workload,
    setup: Setup,
    returns: Returns | None = None,
    predictions: Callable[[], Predictions] = Predictions,
) -> Outcomes:
    """Play the workload to its horizon, and on until every request has its outcome and no slot is held.

    `returns`, a fresh one, has clients come back that were refused (form replicas; their further tries are appended).
    `predictions` makes what each agent learns by, where it is another than the live one (form replicas).

    Raises BadSetup and UnknownName for what cannot be simulated. Deterministic: equal arguments, equal bytes.
    """
    agenda, book = Agenda(), Book(workload)
    device_ids = [device.id for device in setup.devices]
    log = ResidenceLog(device_ids)
    left: Callable[[int], None] | None = None
    money: Money | None = None
    arrive: Callable[[int], None]
    if setup.form is Form.REPLICAS:
        platform = Platform(
            workload, setup, agenda=agenda, book=book, log=log, returns=returns, predictions=predictions
        )
        arrive, left, money = platform.arrive, platform.answered, platform.money
    else:
        arrive = _pool(workload, setup, agenda, book, log).arrive
    book.answered = left
    if workload.closed:
        clients = Clients(workload, agenda, book, arrive)

        def answered(index: int) -> None:
            if left is not None:
                left(index)
            clients.answered(index)

        book.answered = answered
    if returns is not None:
        returns.begin(agenda, book, arrive)
        before = book.answered

        def answered_or_back(index: int) -> None:
            if before is not None:
                before(index)
            returns.answered(index)

        book.answered = answered_or_back
    horizon_us = workload.horizon_us

    def goes_on(time_us: int) -> bool:
        comes_back = returns is not None and returns.pending > 0
        return time_us < horizon_us or book.open > 0 or book.running > 0 or comes_back

    agenda.play(islice(book.arrival_us, book.offered), arrive, goes_on)
    end_us = max(horizon_us, agenda.now_us)
    outcomes = book.close(workload.keys, tuple(device_ids), log, end_us)
    return outcomes if money is None else replace(outcomes, charges=money.charges(end_us))


def _pool(workload: Workload, setup: Setup, agenda: Agenda, book: Book, log: ResidenceLog) -> Pool:
    residency = None
    if setup.form is Form.LATE_BINDING:
        hosts: dict[str, Host] = {}

        def host_of(node: str) -> Host:
            if node not in hosts:
                hosts[node] = Host(agenda, setup.memory)
            return hosts[node]

        eviction = make_eviction(setup.memory.eviction, EvictionParams(seed=setup.seed))
        residency = Residency(agenda, setup.memory, eviction, host_of, log)
    policy = make_policy(workload, setup, sum(device.slots for device in setup.devices))
    return Pool(
        workload, setup, agenda=agenda, book=book, policy=policy, predictions=Predictions(), residency=residency
    )
