"""The GpuPolicy resource as it is written, its rules across fields, and its way into the model. Pure.

The bounds are those of crds/gpupolicies.stoker.dev.yaml, written a second time on purpose: the contract test feeds
every example to both. Knows no file, no schema and no clock.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from stoker.errors import InvalidObject
from stoker.model.function import KeepAlivePolicy, PreWarmPolicy, Priority, Variant
from stoker.model.mode import Mode
from stoker.model.policy import (
    ADMISSION_POLICIES,
    DEFAULT_PROFILE,
    PROFILES,
    AdmissionMode,
    NamespaceRule,
    PodSecurity,
    Policy,
    Pool,
    ScalingPolicy,
    Toleration,
)
from stoker.model.quantity import parse_duration_us
from stoker.policies.allocation.fair import Fair
from stoker.policies.allocation.registry import ALLOCATION
from stoker.policies.device_choice.registry import DEVICE_CHOICE
from stoker.policies.eviction.registry import make_keep_alive
from stoker.policies.queueing.registry import POLICIES
from stoker.wire.conversion import convert
from stoker.wire.crd_types import Cost, Label, ProductName, ResourceName, Subdomain, Wire

KIND = "GpuPolicy"
NAME = "default"
EVERYONE = "*"
"""Name of the entry of `namespaces` that is for all others."""

_LABEL_KEY = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(_LABEL_KEY)

LabelValue = Annotated[str, Meta(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z")]
LabelKey = Annotated[str, Meta(max_length=253, pattern=rf"^{_LABEL_KEY}\Z")]
LabelPrefix = Annotated[
    str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*/?[-A-Za-z0-9_.]*\Z")
]
NamespaceName = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?|[*])\Z")]

if TYPE_CHECKING:
    ProfileName = str
    QueueingName = str
    AdmissionName = str
    AllocationName = str
    DeviceChoiceName = str
else:
    # The names that exist, which a type checker cannot know.
    ProfileName = Literal[tuple(PROFILES)]
    QueueingName = Literal[tuple(POLICIES)]
    AdmissionName = Literal[ADMISSION_POLICIES]
    AllocationName = Literal[tuple(ALLOCATION)]
    DeviceChoiceName = Literal[tuple(DEVICE_CHOICE)]


class Placement(Wire, frozen=True, kw_only=True):
    """Checked and not decoded: its one value is what the extender does."""

    policy: Literal["slack-warm"] | UnsetType = UNSET


class Admission(Wire, frozen=True, kw_only=True):
    policy: AdmissionName | UnsetType = UNSET
    mode: AdmissionMode = AdmissionMode.ENFORCE


class KeepAlive(Wire, frozen=True, kw_only=True):
    policy: KeepAlivePolicy | UnsetType = UNSET
    max_ttl: str | UnsetType = UNSET


class PreWarm(Wire, frozen=True, kw_only=True):
    policy: Literal["None", "Histogram", "HazardRate"] | UnsetType = UNSET


class Scaling(Wire, frozen=True, kw_only=True):
    policy: ScalingPolicy | UnsetType = UNSET


class Prefetch(Wire, frozen=True, kw_only=True):
    nodes_per_function: Annotated[int, Meta(ge=0, le=1000)] = 1


class Price(Wire, frozen=True, kw_only=True):
    product: ProductName
    per_hour: Annotated[float, Meta(ge=0, le=1_000_000)]


class TolerationSpec(Wire, frozen=True, kw_only=True):
    key: LabelKey | UnsetType = UNSET
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue | UnsetType = UNSET
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | UnsetType = UNSET
    toleration_seconds: Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType = UNSET


class PoolSpec(Wire, frozen=True, kw_only=True):
    name: Label
    namespaces: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=2)] = (Variant.GPU, Variant.CPU)
    resource_names: Annotated[tuple[ResourceName, ...], Meta(min_length=1, max_length=16)] | UnsetType = UNSET
    node_selector: Annotated[dict[str, LabelValue], Meta(max_length=16)] | UnsetType = UNSET
    tolerations: Annotated[tuple[TolerationSpec, ...], Meta(max_length=16)] | UnsetType = UNSET
    runtime_class_name: Subdomain | UnsetType = UNSET
    priority_class_name: Subdomain | UnsetType = UNSET


class NamespaceSpec(Wire, frozen=True, kw_only=True):
    name: NamespaceName
    weight: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    max_priority: Priority | UnsetType = UNSET
    max_gpus: Annotated[int, Meta(ge=0, le=100_000)] | UnsetType = UNSET
    max_cost_per_hour: Cost | UnsetType = UNSET
    pod_security: PodSecurity | UnsetType = UNSET
    cross_tenant_sharing: bool | UnsetType = UNSET
    hostname_suffixes: Annotated[tuple[Subdomain, ...], Meta(max_length=32)] | UnsetType = UNSET
    allowed_label_prefixes: Annotated[tuple[LabelPrefix, ...], Meta(max_length=32)] | UnsetType = UNSET


class GpuPolicySpec(Wire, frozen=True, kw_only=True):
    profile: ProfileName = DEFAULT_PROFILE
    queueing: QueueingName | UnsetType = UNSET
    allocation: AllocationName | UnsetType = UNSET
    device_choice: DeviceChoiceName | UnsetType = UNSET
    placement: Placement = Placement()
    admission: Admission = Admission()
    keep_alive: KeepAlive = KeepAlive()
    pre_warm: PreWarm = PreWarm()
    scaling: Scaling = Scaling()
    memory_enforcement: Literal["Enforce", "Observe"] = "Enforce"
    prefetch: Prefetch = Prefetch()
    prices: Annotated[tuple[Price, ...], Meta(max_length=64)] = ()
    pools: Annotated[tuple[PoolSpec, ...], Meta(max_length=32)] = ()
    namespaces: Annotated[tuple[NamespaceSpec, ...], Meta(max_length=1000)] = ()


class PolicyMetadata(Struct, frozen=True, kw_only=True):
    name: Literal["default"]


class GpuPolicyResource(Wire, frozen=True, kw_only=True):
    api_version: Literal["stoker.dev/v1alpha1"]
    kind: Literal["GpuPolicy"]
    metadata: PolicyMetadata
    spec: GpuPolicySpec
    status: Any = None


def decode_policy(document: dict[str, Any], *, mode: Mode = Mode.EMBEDDED) -> Policy:
    """The policy that a document describes. Raises InvalidObject with the path of what is wrong."""
    resource = convert(document, GpuPolicyResource)
    spec = resource.spec
    _check(spec)
    profile = PROFILES[spec.profile]
    everyone = next((entry for entry in spec.namespaces if entry.name == EVERYONE), NamespaceSpec(name=EVERYONE))
    others = _rule(everyone, NamespaceRule())
    return Policy(
        name=resource.metadata.name,
        profile=spec.profile,
        queueing=spec.queueing or profile.queueing,
        allocation=spec.allocation or profile.allocation,
        device_choice=spec.device_choice or profile.device_choice,
        keep_alive=spec.keep_alive.policy or profile.keep_alive,
        keep_alive_max_us=parse_duration_us(spec.keep_alive.max_ttl) if spec.keep_alive.max_ttl is not UNSET else None,
        pre_warm=PreWarmPolicy(spec.pre_warm.policy or profile.pre_warm),
        scaling=spec.scaling.policy or profile.scaling,
        admission=spec.admission.mode,
        admission_policy=spec.admission.policy or profile.admission_policy,
        waive_memory_enforcement=spec.memory_enforcement == "Observe",
        prefetch_nodes=spec.prefetch.nodes_per_function,
        prices={price.product: price.per_hour for price in spec.prices},
        pools=tuple(_pool(pool) for pool in spec.pools),
        namespaces={entry.name: _rule(entry, others) for entry in spec.namespaces if entry.name != EVERYONE},
        others=others,
        warnings=(
            *_order_warnings(spec),
            *_weight_warnings(spec),
            *_cost_warnings(spec),
            *(_embedded_warnings(spec) if mode is Mode.EMBEDDED else ()),
        ),
    )


def default_policy_document() -> dict[str, Any]:
    """The GpuPolicy that the operator creates where there is none: it decodes to default_policy()."""
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": KIND,
        "metadata": {"name": NAME},
        "spec": {"profile": DEFAULT_PROFILE},
    }


def _rule(entry: NamespaceSpec, base: NamespaceRule) -> NamespaceRule:
    """The entry, with what it leaves out taken from `base`."""

    def given(value: Any, otherwise: Any) -> Any:
        return otherwise if value is UNSET else value

    return NamespaceRule(
        weight=given(entry.weight, base.weight),
        max_priority=given(entry.max_priority, base.max_priority),
        max_gpus=given(entry.max_gpus, base.max_gpus),
        max_cost_per_hour=given(entry.max_cost_per_hour, base.max_cost_per_hour),
        pod_security=given(entry.pod_security, base.pod_security),
        cross_tenant=given(entry.cross_tenant_sharing, base.cross_tenant),
        hostname_suffixes=given(entry.hostname_suffixes, base.hostname_suffixes),
        label_prefixes=given(entry.allowed_label_prefixes, base.label_prefixes),
    )


def _pool(pool: PoolSpec) -> Pool:
    return Pool(
        name=pool.name,
        namespaces=pool.namespaces or (),
        variants=pool.variants,
        resource_names=pool.resource_names or (),
        node_selector=pool.node_selector or {},
        tolerations=tuple(
            Toleration(
                key=item.key or "",
                operator=item.operator,
                value=item.value or "",
                effect=item.effect or "",
                toleration_seconds=None if item.toleration_seconds is UNSET else item.toleration_seconds,
            )
            for item in pool.tolerations or ()
        ),
        runtime_class=pool.runtime_class_name or None,
        priority_class=pool.priority_class_name or None,
    )


def _check(spec: GpuPolicySpec) -> None:
    if spec.keep_alive.max_ttl is not UNSET:
        parse_duration_us(spec.keep_alive.max_ttl, "spec.keepAlive.maxTtl")
    _unique((price.product for price in spec.prices), "spec.prices")
    _unique((pool.name for pool in spec.pools), "spec.pools")
    _unique((entry.name for entry in spec.namespaces), "spec.namespaces")
    for index, pool in enumerate(spec.pools):
        path = f"spec.pools[{index}]"
        _unique(pool.namespaces or (), f"{path}.namespaces")
        _unique(pool.variants, f"{path}.variants")
        _unique(pool.resource_names or (), f"{path}.resourceNames")
        for key in pool.node_selector or {}:
            valid = len(key) <= 253 and _KEY.fullmatch(key) is not None
            _require(valid, f"{path}.nodeSelector", "each key must be a label key, as in example.org/gpu-pool")
        for at, item in enumerate(pool.tolerations or ()):
            _toleration(item, f"{path}.tolerations[{at}]")
    for index, entry in enumerate(spec.namespaces):
        path = f"spec.namespaces[{index}]"
        _unique(entry.hostname_suffixes or (), f"{path}.hostnameSuffixes")
        _unique(entry.allowed_label_prefixes or (), f"{path}.allowedLabelPrefixes")


def _toleration(item: TolerationSpec, path: str) -> None:
    equal = item.operator == "Equal"
    _require(item.key is not UNSET or not equal, f"{path}.operator", "without key, operator must be Exists")
    _require(item.value is UNSET or equal, f"{path}.value", "goes with operator: Equal only")
    _require(
        item.toleration_seconds is UNSET or item.effect == "NoExecute",
        f"{path}.tolerationSeconds",
        "goes with effect: NoExecute only",
    )


def _require(holds: bool, path: str, message: str) -> None:
    if not holds:
        raise InvalidObject(path, message)


def _unique(items: Iterable[str], path: str) -> None:
    seen = list(items)
    _require(len(set(seen)) == len(seen), path, "must not name anything twice")


def _order_warnings(spec: GpuPolicySpec) -> tuple[str, ...]:
    """Where a keep-alive policy has an order of its own and another one says who gives way."""
    policy = spec.keep_alive.policy
    acts = spec.allocation or PROFILES[spec.profile].allocation
    if policy is UNSET or (own := make_keep_alive(policy).name) not in ALLOCATION or own == acts:
        return ()
    kept = f"spec.keepAlive.policy {policy.value} keeps replicas until a device is needed"
    return (f"{kept}, and does not say who gives way then: spec.allocation does, which is {acts}.",)


def _weight_warnings(spec: GpuPolicySpec) -> tuple[str, ...]:
    """Where the weights of namespaces do not act, because a policy keeps no shares."""
    if all(entry.weight is UNSET or entry.weight == 1 for entry in spec.namespaces):
        return ()
    profile = PROFILES[spec.profile]
    queueing = spec.queueing or profile.queueing
    allocation = spec.allocation or profile.allocation
    admission = spec.admission.policy or profile.admission_policy
    why_not = f"mode: {spec.admission.mode}" if spec.admission.mode is not AdmissionMode.ENFORCE else admission
    # Under contention admission bounds a function by its share, whatever the order of the queue is.
    admits = spec.admission.mode is AdmissionMode.ENFORCE and admission != "none"
    parts = (
        ("which requests are taken under contention", admits, f"spec.admission is {why_not}"),
        (
            "the order of requests",
            POLICIES[queueing]().guarantees.weight_respecting,
            f"spec.queueing is {queueing}",
        ),
        ("turns on devices", allocation == Fair.name, f"spec.allocation is {allocation}"),
    )
    acts = [what for what, does, _ in parts if does]
    rest = [f"{what} ({why})" for what, does, why in parts if not does]
    if not rest:
        return ()
    if not acts:
        return (f"spec.namespaces[].weight does not act: not on {_or(rest)}.",)
    return (f"spec.namespaces[].weight acts on {' and '.join(acts)}, and not on {_or(rest)}.",)


def _or(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"


def _cost_warnings(spec: GpuPolicySpec) -> tuple[str, ...]:
    """Where a bound on cost does not act, because nothing has a price."""
    if spec.prices or all(entry.max_cost_per_hour is UNSET for entry in spec.namespaces):
        return ()
    return ("spec.namespaces[].maxCostPerHour does not act without spec.prices: nothing here has a price.",)


def _embedded_warnings(spec: GpuPolicySpec) -> tuple[str, ...]:
    """One sentence for each field that is accepted and does not act in embedded mode yet."""
    said = []
    if spec.memory_enforcement == "Observe":
        said.append("spec.memoryEnforcement acts on Kubernetes only: here nothing measures the memory of a device.")
    if spec.prefetch != Prefetch():
        said.append("spec.prefetch acts on Kubernetes only: here replicas are processes of this machine.")
    if spec.pools:
        said.append("spec.pools acts on Kubernetes only: here there is one machine.")
    pods = ("pod_security", "cross_tenant_sharing", "hostname_suffixes", "allowed_label_prefixes")
    if any(getattr(entry, field) is not UNSET for entry in spec.namespaces for field in pods):
        said.append(
            "spec.namespaces[].podSecurity, crossTenantSharing, hostnameSuffixes and allowedLabelPrefixes act on "
            "Kubernetes only: here there are no pods."
        )
    return tuple(said)
