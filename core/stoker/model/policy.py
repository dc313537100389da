"""The GpuPolicy as the platform sees it: which policies decide, where pods may go, and what each namespace may have.

Decoded from the custom resource by stoker.wire.policy, with the profile and the entry `*` filled in. Only plain
lookups here: what a bound means for a request, a plan or a node is decided where it acts.
"""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from stoker.model.function import Function, KeepAlivePolicy, PreWarmPolicy, Priority, Variant

RESERVED_DOMAINS = ("stoker.dev", "kubernetes.io", "k8s.io")
"""Labels and annotations of these domains (and below them) never come from a GpuFunction, whatever a policy allows."""


def is_reserved(key: str) -> bool:
    """Whether a label or annotation key is of a reserved domain."""
    domain = key.rpartition("/")[0]
    return any(domain == name or domain.endswith(f".{name}") for name in RESERVED_DOMAINS)


class AdmissionMode(StrEnum):
    """Whether a predicted miss is acted upon, or computed and exported only."""

    ENFORCE = "Enforce"
    OBSERVE = "Observe"


ADMISSION_POLICIES = ("none", "schedule-based", "utilisation-threshold")
"""How it is decided that a request would miss its objective, or make another one miss it (spec.admission.policy)."""


class ScalingPolicy(StrEnum):
    """What numbers of replicas follow."""

    SLO = "SLO"
    """What a model of queueing needs for the objective at the rate of demand (stoker.control.slo_scaling)."""
    CONCURRENCY = "Concurrency"
    """Requests in the system over scaling.concurrency."""


class PodSecurity(StrEnum):
    """The Pod Security level that the pods of a namespace keep to."""

    RESTRICTED = "Restricted"
    BASELINE = "Baseline"


class Profile(Struct, frozen=True, kw_only=True):
    """The policies that a profile stands for."""

    queueing: str
    admission_policy: str
    allocation: str
    device_choice: str
    placement: str
    keep_alive: KeepAlivePolicy
    pre_warm: PreWarmPolicy
    scaling: ScalingPolicy


PROFILES: dict[str, Profile] = {
    "LatencyFirst": Profile(
        queueing="least-slack",
        admission_policy="schedule-based",
        allocation="greedy-dual",
        device_choice="slack",
        placement="slack-warm",
        keep_alive=KeepAlivePolicy.FIXED_TTL,
        pre_warm=PreWarmPolicy.NONE,
        scaling=ScalingPolicy.SLO,
    ),
    "FairShare": Profile(
        queueing="mqfq-sticky",
        admission_policy="schedule-based",
        allocation="fair",
        device_choice="slack",
        placement="slack-warm",
        keep_alive=KeepAlivePolicy.FIXED_TTL,
        pre_warm=PreWarmPolicy.NONE,
        scaling=ScalingPolicy.SLO,
    ),
    "Throughput": Profile(
        queueing="batch",
        admission_policy="utilisation-threshold",
        allocation="greedy-dual",
        device_choice="speed-up",
        placement="slack-warm",
        keep_alive=KeepAlivePolicy.FIXED_TTL,
        pre_warm=PreWarmPolicy.NONE,
        scaling=ScalingPolicy.CONCURRENCY,
    ),
}
DEFAULT_PROFILE = "LatencyFirst"


class Toleration(Struct, frozen=True, kw_only=True):
    """As in a pod. An empty key (with Exists) tolerates every taint, an empty effect each effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class Pool(Struct, frozen=True, kw_only=True):
    """Nodes, and what the pods that go there get from the administrator."""

    name: str
    namespaces: tuple[str, ...] = ()
    """Whose functions; empty: everybody's."""
    variants: tuple[Variant, ...] = (Variant.GPU, Variant.CPU)
    resource_names: tuple[str, ...] = ()
    """Extended resources of its GPU pods, as in `nvidia.com/gpu`; empty: any."""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    runtime_class: str | None = None
    priority_class: str | None = None

    def takes(self, namespace: str, variant: Variant, resource_name: str | None) -> bool:
        """Whether pods of this kind go there. `resource_name` is None for pods without a GPU."""
        return (
            (not self.namespaces or namespace in self.namespaces)
            and variant in self.variants
            and (resource_name is None or not self.resource_names or resource_name in self.resource_names)
        )


class NamespaceRule(Struct, frozen=True, kw_only=True):
    """What the functions of one namespace may have. The defaults are those of a namespace that no entry names."""

    weight: int = 1
    """Share of the namespace among namespaces, under contention."""
    max_priority: Priority = Priority.CRITICAL
    max_gpus: int | None = None
    """GPUs that its replicas hold at a time, in all; None: unbounded."""
    max_cost_per_hour: float | None = None
    """What its replicas may cost an hour, in all; None: unbounded."""
    pod_security: PodSecurity = PodSecurity.RESTRICTED
    cross_tenant: bool = False
    """Its replicas may share a device with those of other namespaces that may too."""
    hostname_suffixes: tuple[str, ...] = ()
    """Own hostnames must be one of these or end in a dot and one; empty: none are allowed."""
    label_prefixes: tuple[str, ...] = ()

    def allows_label(self, key: str) -> bool:
        """Whether this label or annotation of a GpuFunction is put on its pods."""
        return not is_reserved(key) and key.startswith(self.label_prefixes)


class Policy(Struct, frozen=True, kw_only=True):
    """The one GpuPolicy as applied."""

    name: str = "default"
    profile: str = DEFAULT_PROFILE
    queueing: str
    allocation: str
    device_choice: str
    keep_alive: KeepAlivePolicy
    """What functions get that do not set scaling.keepAlive.policy."""
    keep_alive_max_us: int | None = None
    """No idle replica is kept longer than this, whatever its function asks; None: unbounded."""
    pre_warm: PreWarmPolicy
    """What functions get that do not set scaling.preWarm."""
    scaling: ScalingPolicy
    admission: AdmissionMode = AdmissionMode.ENFORCE
    admission_policy: str
    """One of ADMISSION_POLICIES."""
    waive_memory_enforcement: bool = False
    """A replica that takes more device memory than it reserved is reported and not stopped."""
    prefetch_nodes: int = 1
    """Nodes on which the images of a function that is pre-warmed are kept ahead of its pods."""
    prices: dict[str, float] = {}
    """What a device of a product costs an hour (of `cpu`: one core)."""
    pools: tuple[Pool, ...] = ()
    """In order: a pod goes to the first that takes it."""
    namespaces: dict[str, NamespaceRule] = {}
    others: NamespaceRule = NamespaceRule()
    """Of each namespace that `namespaces` does not name."""
    warnings: tuple[str, ...] = ()
    """Fields that are accepted but do not act in this mode, one sentence each."""

    def rule(self, namespace: str) -> NamespaceRule:
        """What the functions of a namespace may have."""
        return self.namespaces.get(namespace, self.others)

    def weights(self, namespaces: Iterable[str]) -> dict[str, int]:
        """The weights of those of `namespaces` that do not weigh 1, in the order of their names."""
        found = {name: self.rule(name).weight for name in sorted(namespaces)}
        return {name: weight for name, weight in found.items() if weight != 1}

    def max_gpus(self, namespaces: Iterable[str]) -> dict[str, int]:
        """The bounds of those of `namespaces` that have one, in the order of their names."""
        found = {name: self.rule(name).max_gpus for name in sorted(namespaces)}
        return {name: bound for name, bound in found.items() if bound is not None}

    def max_costs_per_hour(self, namespaces: Iterable[str]) -> dict[str, float]:
        """What the replicas may cost an hour in those of `namespaces` that have a bound, in the order of names."""
        found = {name: self.rule(name).max_cost_per_hour for name in sorted(namespaces)}
        return {name: bound for name, bound in found.items() if bound is not None}

    def bounded(self, function: Function) -> Priority:
        """The priority that requests of the function have: no higher than its namespace may have, also where the bound
        was lowered after the function was accepted.
        """
        asked, bound = function.spec.priority, self.rule(function.namespace).max_priority
        return min(asked, bound, key=lambda priority: priority.level)

    def pool(self, namespace: str, variant: Variant, resource_name: str | None) -> Pool | None:
        """The pool that a pod goes to; None: any node, with nothing added."""
        return next((pool for pool in self.pools if pool.takes(namespace, variant, resource_name)), None)

    def cross_tenant(self, namespaces: Iterable[str]) -> frozenset[str]:
        """Those of `namespaces` whose replicas may share a device with one another's."""
        return frozenset(name for name in namespaces if self.rule(name).cross_tenant)


def default_policy() -> Policy:
    """The policy that acts where no GpuPolicy was applied: the default profile, no pools, no bounds."""
    profile = PROFILES[DEFAULT_PROFILE]
    return Policy(
        queueing=profile.queueing,
        admission_policy=profile.admission_policy,
        allocation=profile.allocation,
        device_choice=profile.device_choice,
        keep_alive=profile.keep_alive,
        pre_warm=profile.pre_warm,
        scaling=profile.scaling,
    )
