"""The form `replicas`: gateway, one agent for each node, and the reconciler, put together."""

from collections.abc import Callable

from stoker.control.capacity import needs_of
from stoker.device_chooser import DeviceChooser
from stoker.model.device import Device
from stoker.model.fitting import unplaceable
from stoker.model.policy import AdmissionMode
from stoker.policies.device_choice.interface import ChoiceParams
from stoker.prediction import Predictions
from stoker.slots.forecast import Rule
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.agent import Agent
from stoker_sim.engine.book import Book
from stoker_sim.engine.closed_doors import ClosedDoor
from stoker_sim.engine.flows import Flow
from stoker_sim.engine.gateway import Gateway
from stoker_sim.engine.money import money_of
from stoker_sim.engine.policies import make_policy
from stoker_sim.engine.reconciling import Reconciler
from stoker_sim.engine.residence_log import ResidenceLog
from stoker_sim.engine.returns import Returns
from stoker_sim.engine.setup import BadSetup, Setup
from stoker_sim.workload import Workload


class Platform:
    """`arrive(index)` is called for each request at its time, `answered(index)` when it has its outcome."""

    def __init__(
        self,
        workload: Workload,
        setup: Setup,
        *,
        agenda: Agenda,
        book: Book,
        log: ResidenceLog,
        returns: Returns | None = None,
        predictions: Callable[[], Predictions] = Predictions,
    ) -> None:
        """`predictions`: what each agent learns by.

        Raises UnknownName for a device choice that there is not, and BadSetup where a replica could be placed on a
        device that the function's requests have no time on.
        """
        flows = {
            flow.key: flow
            for index, function in enumerate(workload.functions)
            for variant in function.definition.variants
            for flow in (Flow(index, function, variant),)
        }
        siblings: dict[str, list[str]] = {}
        for flow in flows.values():
            _place(flow, setup.devices)
            siblings.setdefault(flow.definition.key, []).append(flow.key)
        self._siblings = {flow.key: siblings[flow.definition.key] for flow in flows.values()}
        self._gateway = Gateway(
            workload,
            unplaceable((function.definition for function in workload.functions), setup.devices),
            agenda=agenda,
            book=book,
            hold_requests=setup.hold_requests,
            enforces=setup.admission is AdmissionMode.ENFORCE and setup.admission_policy is not Rule.NONE,
            chooser=DeviceChooser(setup.device_choice, ChoiceParams(seed=setup.seed)),
            prices=setup.prices,
            poke=self._poke,
            returns=returns,
        )
        self.money = money_of(workload, setup, agenda)
        """None: nothing has a price."""
        self.reconciler = Reconciler(workload, setup, agenda, self._gateway, self.money)
        nodes: dict[str, list[Device]] = {}
        for device in setup.devices:
            nodes.setdefault(device.node, []).append(device)
        self._agents = [
            Agent(
                devices,
                flows,
                setup,
                make_policy(workload, setup, sum(device.slots for device in devices)),
                agenda=agenda,
                book=book,
                log=log,
                told=self._told,
                refreshed=self._refreshed,
                dispatched=self._gateway.dispatched,
                stranded=self._gateway.stranded,
                gone=self.reconciler.gone,
                money=self.money,
                returns=returns,
                predictions=predictions,
            )
            for devices in nodes.values()
        ]
        self._number = {agent: number for number, agent in enumerate(self._agents)}
        agents = [ClosedDoor(agent, agenda, book, returns) for agent in self._agents]
        self._gateway.follow(agents)
        self.arrive = self._gateway.arrive
        self.answered = self._gateway.answered
        agent_of = {
            device.id: agent for agent, devices in zip(self._agents, nodes.values(), strict=True) for device in devices
        }
        self.reconciler.control(self._agents, agent_of)

    def _told(self, agent: Agent, keys: tuple[str, ...], at_once: bool) -> None:
        self._refreshed(agent, keys)
        self._poke(load=not at_once)

    def _refreshed(self, agent: Agent, keys: tuple[str, ...]) -> None:
        """What is told of one variant is told of the others of its function."""
        told = dict.fromkeys(other for key in keys for other in self._siblings[key])
        self._gateway.told(self._number[agent], {key: agent.load(key) for key in told})

    def _poke(self, *, load: bool = False) -> None:
        self.reconciler.poke(load=load)


def _place(flow: Flow, devices: tuple[Device, ...]) -> None:
    """Tell the flow where it may run; every such device must have a time for it."""
    needs = needs_of(flow.definition, flow.variant)
    fitting = [device for device in devices if any(need.could_use(device) for need in needs)]
    for device in fitting:
        if not flow.could_run_on(device):
            raise BadSetup(f"{flow.key} may be placed on {device.id} and has no execution time on {device.product}")
    flow.place(fitting)
