"""A scenario: what is simulated, with which policies, at which loads, how often. The form of SCENARIO.yaml.

Values and what they mean for the engine; the file is read by scenario_file, workloads are made by sources. Field names
are written in camelCase, times as `250ms`, memory as `40Gi`.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta, field
from msgspec.structs import replace

from stoker.control.planning import PlanParams
from stoker.errors import StokerError
from stoker.model.device import Device, DeviceKind
from stoker.model.function import CostBounds, KeepAlivePolicy, OnMiss, PreWarmPolicy
from stoker.model.policy import AdmissionMode, ScalingPolicy
from stoker.policies.allocation.registry import make_allocation_policy
from stoker.policies.device_choice.registry import make_device_choice
from stoker.policies.eviction.registry import make_eviction
from stoker.policies.queueing.interface import QueueParams
from stoker.policies.queueing.registry import DEFAULT_QUEUEING, make_queueing
from stoker.slots.forecast import Rule
from stoker_sim.colocation import GPUS, gavel
from stoker_sim.engine.setup import (
    DEFAULT_DEVICE_CHOICE,
    KUBERNETES_EXCLUSIVE,
    KUBERNETES_SHARED,
    Delays,
    Knowledge,
    Memory,
    Setup,
    Slowdowns,
)
from stoker_sim.engine.setup import Form as WorldForm
from stoker_sim.sources.forms import AnySource, Count, Form, Load, Positive
from stoker_sim.sources.sense import nonsense
from stoker_sim.sources.units import Mebibytes, Micros, as_written
from stoker_sim.workload import CPU, Workload

MAX_DEVICES = 10_000
Cost = Annotated[float, Meta(gt=0, le=1_000_000)]
_HOST_MIB = 1 << 24
"""Host memory of a CPU device: never what runs out."""


class BadScenario(StokerError):  # noqa: N818  the name states the fact
    """A scenario that contradicts itself or names what is not there. `field` is where, as in `policies[1]`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class World(StrEnum):
    """Whose delays the platform has, in the form `replicas`."""

    EMBEDDED = "embedded"
    KUBERNETES_EXCLUSIVE = "kubernetes-exclusive"
    KUBERNETES_SHARED = "kubernetes-shared"


_DELAYS = {
    World.EMBEDDED: Delays(),
    World.KUBERNETES_EXCLUSIVE: KUBERNETES_EXCLUSIVE,
    World.KUBERNETES_SHARED: KUBERNETES_SHARED,
}


class DeviceChoice(Form, frozen=True, kw_only=True):
    """Equal devices: GPUs with a product and memory, or the cores of a node."""

    product: str = ""
    memory: Mebibytes | None = None
    count: Annotated[int, Meta(ge=1, le=MAX_DEVICES)] = 1
    slots: Count = 1
    """Concurrent executions over all functions on one GPU."""
    cores: Count | None = None
    """Instead of product and memory: a CPU device."""
    node: str = ""


class PolicyChoice(Form, frozen=True, kw_only=True):
    """One way to decide everything; None: as the platform does by default."""

    name: str = ""
    """In reports; empty: made of what is set."""
    queueing: str = DEFAULT_QUEUEING
    serve_late: bool = True
    """False: the queueing policy as published, late requests keep their turn."""
    tuning: dict[str, int] = field(default_factory=dict)
    """Constants of the queueing policy that are not as by default (stoker.policies.queueing.tuning)."""
    eviction: str | None = None
    allocation: str | None = None
    pre_warm: PreWarmPolicy | None = None
    keep_alive: KeepAlivePolicy | None = None
    """Of every function, as is keepAliveTtl."""
    keep_alive_ttl: Micros | None = None
    admission: AdmissionMode | None = None
    admission_policy: Rule | None = None
    on_predicted_miss: tuple[OnMiss, ...] | None = None
    """Of every function."""
    device_choice: str | None = None
    """Replicas: which variant a request goes to first."""
    scaling: ScalingPolicy | None = None
    """Replicas: what their number follows."""

    @property
    def label(self) -> str:
        """The name in reports."""
        if self.name:
            return self.name
        set_beside = (
            None if self.serve_late else "as published",
            *(f"{name} {value}" for name, value in self.tuning.items()),
            self.eviction,
            self.allocation,
            None if self.pre_warm is None else f"pre-warm {self.pre_warm.value}",
            None if self.keep_alive is None else self.keep_alive.value,
            None if self.keep_alive_ttl is None else f"ttl {self.keep_alive_ttl / 1e6:g} s",
            None if self.admission is None else self.admission.value,
            None if self.admission_policy is None else f"admission {self.admission_policy.value}",
            None if self.on_predicted_miss is None else " ".join(self.on_predicted_miss),
            self.device_choice,
            None if self.scaling is None else f"scaled by {self.scaling.value}",
        )
        return " ".join([self.queueing, *(word for word in set_beside if word)])


class MemoryChoice(Form, frozen=True, kw_only=True):
    """Late binding: how device memory is filled."""

    bus_mib_per_s: Count = Memory().bus_mib_per_s
    host: Mebibytes | None = None
    """Host memory that evicted functions may stay in; None: it never runs out."""
    in_host_at_start: bool = False
    copies: Count | None = None


class Scenario(Form, frozen=True, kw_only=True):
    """See the module."""

    name: str = ""
    workload: AnySource | Annotated[tuple[AnySource, ...], Meta(min_length=1)]
    """One source, or several at the same time."""
    duration: Micros | None = None
    """Requests that come later are left out."""
    devices: Annotated[tuple[DeviceChoice, ...], Meta(min_length=1)]
    memories: tuple[Mebibytes, ...] = ()
    """Memory of every GPU, to be gone through; empty: as the devices have."""
    form: WorldForm = WorldForm.LATE_BINDING
    world: World = World.EMBEDDED
    load_plan: Micros = Micros(0)
    """Replicas: least time between plans that load alone asks for. Live there is none; a second simulates faster."""
    policies: Annotated[tuple[str | PolicyChoice, ...], Meta(min_length=1)] = (DEFAULT_QUEUEING,)
    """Names of queueing policies, or more. The first is what the others are compared with."""
    loads: tuple[Load, ...] = ()
    """Offered warm GPU time over capacity, to be gone through; empty: the workload as it is."""
    slo_factors: tuple[Positive, ...] = ()
    """Objectives over isolated warm medians, to be gone through; empty: the workload's own."""
    seeds: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """How many replications."""
    first_seed: Annotated[int, Meta(ge=0)] = 0
    warm_up: Micros = Micros(0)
    """Requests that come before are in no figure."""
    knowledge: Knowledge = Knowledge.PROFILE
    slowdowns: str | None = None
    """A GPU of Gavel's table of slowdowns by neighbours; None: there are none."""
    memory: MemoryChoice = MemoryChoice()
    namespace_weights: dict[str, Annotated[int, Meta(ge=1)]] = field(default_factory=dict)
    prices: dict[str, Annotated[float, Meta(ge=0, le=1_000_000)]] = field(default_factory=dict)
    """Of a device an hour, by product; of `cpu`: one core."""
    cost_caps: dict[str, Cost] | None = None
    """Replicas: maxCostPerHour of functions by NAMESPACE/NAME, and of namespaces by NAME; None: no bounds."""
    request_cost_caps: dict[str, Cost] | None = None
    """Replicas: maxCostPerThousandRequests of functions by NAMESPACE/NAME."""
    bound: bool = True
    """Whether the upper bound on attainment is computed."""

    @property
    def sources(self) -> tuple[AnySource, ...]:
        return self.workload if isinstance(self.workload, tuple) else (self.workload,)

    @property
    def choices(self) -> tuple[PolicyChoice, ...]:
        """The policies, names made whole."""
        return tuple(PolicyChoice(queueing=choice) if isinstance(choice, str) else choice for choice in self.policies)


def check(scenario: Scenario) -> None:
    """Raises BadScenario for what the form alone does not show."""
    for index, device in enumerate(scenario.devices):
        where = f"devices[{index}]"
        if device.cores is None and (not device.product or device.memory is None):
            raise BadScenario(where, "a GPU needs product and memory (a CPU device has cores)")
        if device.cores is not None and (device.product or device.memory is not None or device.slots != 1):
            raise BadScenario(where, "a CPU device has cores, and no product, memory or slots")
    if scenario.memories and all(device.cores is not None for device in scenario.devices):
        raise BadScenario("memories", "there is no GPU whose memory could be gone through")
    labels = [choice.label for choice in scenario.choices]
    for index, choice in enumerate(scenario.choices):
        if choice.label in labels[:index]:
            raise BadScenario(f"policies[{index}]", f"a policy named {choice.label!r} is there already; give it a name")
        _check_names(choice, f"policies[{index}]")
    _check_lists(scenario)
    _check_caps(scenario)
    for index, source in enumerate(scenario.sources):
        where = f"workload[{index}]" if isinstance(scenario.workload, tuple) else "workload"
        for name, reason in nonsense(source):
            raise BadScenario(f"{where}.{name}".rstrip("."), reason)
    if scenario.slowdowns is not None and scenario.slowdowns not in GPUS:
        raise BadScenario("slowdowns", f"{scenario.slowdowns!r} is not in the table; it has {', '.join(GPUS)}")


def _check_lists(scenario: Scenario) -> None:
    """What is gone through twice would be played, counted and shown twice."""
    lists = {"loads": scenario.loads, "sloFactors": scenario.slo_factors, "memories": scenario.memories}
    for name, values in lists.items():
        for index, value in enumerate(values):
            if value in values[:index]:
                raise BadScenario(f"{name}[{index}]", f"{as_written(value)} is there already")


def _check_caps(scenario: Scenario) -> None:
    for name, caps in (("costCaps", scenario.cost_caps), ("requestCostCaps", scenario.request_cost_caps)):
        if caps and not scenario.prices:
            raise BadScenario(name, "without prices nothing has a cost")
        if caps and scenario.form is not WorldForm.REPLICAS:
            raise BadScenario(name, "bounds on cost act in the form replicas only")
    for key in scenario.request_cost_caps or ():
        if "/" not in key:
            raise BadScenario(f"requestCostCaps.{key}", "is no function; write NAMESPACE/NAME")


def _check_names(choice: PolicyChoice, where: str) -> None:
    try:
        make_queueing(choice.queueing, QueueParams(tuning=choice.tuning))
        if choice.eviction is not None:
            make_eviction(choice.eviction)
        if choice.allocation is not None:
            make_allocation_policy(choice.allocation)
        if choice.device_choice is not None:
            make_device_choice(choice.device_choice)
    except StokerError as error:
        raise BadScenario(where, str(error)) from None


def devices_of(scenario: Scenario, memory_mib: int | None = None) -> tuple[Device, ...]:
    """The devices, each GPU with this memory where one is given."""
    made: list[Device] = []
    for choice in scenario.devices:
        for _ in range(choice.count):
            if choice.cores is not None:
                cores = sum(device.kind is DeviceKind.CPU for device in made)
                made.append(
                    Device(
                        id=f"cpu-{cores}",
                        kind=DeviceKind.CPU,
                        product=CPU,
                        memory_mib=_HOST_MIB,
                        millicores=1000 * choice.cores,
                        node=choice.node,
                    )
                )
                continue
            made.append(
                Device(
                    id=f"gpu-{sum(device.kind is DeviceKind.GPU for device in made)}",
                    kind=DeviceKind.GPU,
                    product=choice.product,
                    memory_mib=int(memory_mib or choice.memory or 0),
                    slots=choice.slots,
                    node=choice.node,
                )
            )
    return tuple(made)


def setup_of(scenario: Scenario, choice: PolicyChoice, devices: tuple[Device, ...], seed: int) -> Setup:
    """What the engine is told beside the workload. Raises BadSetup."""
    slowdowns = None if scenario.slowdowns is None else Slowdowns(table=gavel(scenario.slowdowns).slowdown)
    memory = Memory(
        bus_mib_per_s=scenario.memory.bus_mib_per_s,
        host_mib=scenario.memory.host,
        in_host_at_start=scenario.memory.in_host_at_start,
        copies=scenario.memory.copies,
    )
    plan = PlanParams()
    return Setup(
        devices=devices,
        form=scenario.form,
        queueing=choice.queueing,
        serve_late=choice.serve_late,
        tuning=choice.tuning,
        knowledge=scenario.knowledge,
        namespace_weights=scenario.namespace_weights,
        slowdowns=slowdowns,
        memory=memory if choice.eviction is None else replace(memory, eviction=choice.eviction),
        plan=replace(
            plan,
            allocation=choice.allocation or plan.allocation,
            pre_warm=choice.pre_warm or plan.pre_warm,
            scaling=choice.scaling or plan.scaling,
        ),
        admission=choice.admission or AdmissionMode.ENFORCE,
        admission_policy=choice.admission_policy or Rule.SCHEDULE,
        device_choice=choice.device_choice or DEFAULT_DEVICE_CHOICE,
        prices=scenario.prices,
        namespace_caps={name: most for name, most in (scenario.cost_caps or {}).items() if "/" not in name},
        delays=replace(_DELAYS[scenario.world], load_plan_us=scenario.load_plan),
        seed=seed,
    )


def with_keep_alive(workload: Workload, choice: PolicyChoice) -> Workload:
    """The same functions with the keep-alive and the onPredictedMiss that the policy gives all of them."""
    said = {"keep_alive": choice.keep_alive, "keep_alive_ttl_us": choice.keep_alive_ttl}
    said = {name: value for name, value in said.items() if value is not None}
    misses = choice.on_predicted_miss
    if not said and misses is None:
        return workload
    functions = []
    for function in workload.functions:
        spec = function.definition.spec
        scaling = replace(spec.scaling, **said)
        spec = replace(spec, scaling=scaling, on_predicted_miss=spec.on_predicted_miss if misses is None else misses)
        functions.append(replace(function, definition=replace(function.definition, spec=spec)))
    return replace(workload, functions=tuple(functions))


def with_bounds(workload: Workload, scenario: Scenario) -> Workload:
    """The same functions with the bounds on cost that the scenario names for them; the others keep their own."""
    hour, thousand = scenario.cost_caps or {}, scenario.request_cost_caps or {}
    if not hour and not thousand:
        return workload
    functions = []
    for function in workload.functions:
        definition = function.definition
        bounds = definition.spec.slo.cost
        bounds = CostBounds(
            per_hour=hour.get(definition.key, bounds.per_hour),
            per_thousand_requests=thousand.get(definition.key, bounds.per_thousand_requests),
        )
        slo = replace(definition.spec.slo, cost=bounds)
        functions.append(replace(function, definition=replace(definition, spec=replace(definition.spec, slo=slo))))
    return replace(workload, functions=tuple(functions))


def folder_of(path: Path) -> Path:
    """Where the files that a scenario names are looked for: beside it."""
    return path.parent


def assumptions(scenario: Scenario) -> tuple[str, ...]:
    """What is assumed of the world beside the workload, one sentence each, for reports."""
    delays, said = _DELAYS[scenario.world], []
    match scenario.form:
        case WorldForm.STATIC:
            said.append("every function is resident on every device that fits it, memory is not looked at")
        case WorldForm.LATE_BINDING:
            said.append(
                "any request may go to any fitting device; what is not resident there is loaded first, over a bus of "
                f"{scenario.memory.bus_mib_per_s} MiB/s where it comes from host memory"
            )
        case WorldForm.REPLICAS:
            said.append(
                f"replicas are started and drained by plan(); a start takes {delays.create_us / 1e3:g} ms more than "
                f"the function's own, and is seen at probes every {delays.probe_us / 1e3:g} ms"
            )
    if scenario.form is WorldForm.REPLICAS and scenario.load_plan:
        said.append(f"what load alone asks for is planned every {scenario.load_plan / 1e6:g} s (live: at once)")
    said.append(f"policies know of execution times: {_KNOWN[scenario.knowledge]}")
    said.append(
        "requests that run together on a device do not slow each other"
        if scenario.slowdowns is None
        else f"neighbours slow each other as Gavel's training jobs on {scenario.slowdowns} (assumed of inference)"
    )
    return tuple(said)


_KNOWN = {
    Knowledge.PROFILE: "the median of each function on the product, beforehand",
    Knowledge.LEARNED: "what they measured themselves so far",
    Knowledge.EXACT: "of every request, which no live system does",
}
