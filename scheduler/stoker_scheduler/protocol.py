"""The scheduler extender's wire form, as kube-scheduler 1.33 to 1.37 sends and reads it.

`k8s.io/kube-scheduler/extender/v1/types.go` has no JSON tags: keys are Go names (`NodeNames`), while the embedded
Pod is ordinary Kubernetes JSON. Scores are integers; a fraction makes kube-scheduler drop the whole answer silently.
"""

from msgspec import Struct


class Metadata(Struct, frozen=True, kw_only=True):
    """ObjectMeta, as far as it is used."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    annotations: dict[str, str] = {}


class Container(Struct, frozen=True, kw_only=True):
    """A container, as far as it is used."""

    name: str = ""
    image: str = ""


class PodSpec(Struct, frozen=True, kw_only=True):
    """A PodSpec, as far as it is used."""

    containers: tuple[Container, ...] = ()


class Pod(Struct, frozen=True, kw_only=True):
    """The pod that is to be placed."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


class Arguments(Struct, frozen=True, kw_only=True, rename={"pod": "Pod", "node_names": "NodeNames"}):
    """Body of both calls. `nodeCacheCapable: true` makes kube-scheduler send names and no Nodes."""

    pod: Pod
    node_names: tuple[str, ...] | None = None


class FilterResult(
    Struct,
    frozen=True,
    kw_only=True,
    rename={
        "node_names": "NodeNames",
        "failed": "FailedNodes",
        "unresolvable": "FailedAndUnresolvableNodes",
        "error": "Error",
    },
):
    """Answer of `/filter`. Each reason is one sentence; `unresolvable` ones are not tried for preemption."""

    node_names: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    unresolvable: dict[str, str] = {}
    error: str = ""


class HostPriority(Struct, frozen=True, kw_only=True, rename={"host": "Host", "score": "Score"}):
    """One entry of the answer of `/prioritize`, a bare list."""

    host: str
    score: int
