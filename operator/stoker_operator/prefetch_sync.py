"""Images kept on nodes ahead of their pods: which, where, and the pause pods that keep them.

A function that asks for pre-warming gets its images on `prefetch_nodes` of the nodes that could hold it. The pods run
in its own namespace: the kubelet checks its credentials and its quota counts them. Level-triggered over functions,
nodes and the pods that are there.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from stoker.control.capacity import needs_of
from stoker.control.pending import CreateError, PodFacts, why_pending
from stoker.metrics import WRITES, MetricsSink
from stoker.model.device import Device
from stoker.model.function import Function, PreWarmPolicy, Variant
from stoker.model.policy import Policy
from stoker.pods.params import PodParams
from stoker.pods.prefetch import A_IMAGE, prefetch_name, prefetch_pod
from stoker.reasons import Reason
from stoker_operator.kinds import PODS, RAW_PODS, Pod
from stoker_operator.not_made import NotMade
from stoker_operator.pod_view import ENDED
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import AlreadyExists, ApiError, Conflict, KubeError, NotFound
from stoker_runtime.kube.objects import Seen

log = structlog.get_logger(__name__)

LOOK_S = 5.0
"""How often the images are looked at; nobody waits for one."""
RETRY_S = 60.0
"""After a pod that the API server refused."""


class Keep(Struct, frozen=True):
    """One image that is to be on one node for one function."""

    function: str
    variant: Variant
    image: str
    node: str


def wanted_images(
    functions: Iterable[Function],
    policy: Policy,
    devices: Iterable[Device],
    *,
    images: Callable[[str], frozenset[str]],
    kept: frozenset[tuple[str, str]],
    allowed: Mapping[tuple[str, Variant], frozenset[str]],
) -> list[Keep]:
    """What should be kept where. `kept` are (image, node) with a pod already, which stays where it is; `images` are
    those on a node; `allowed` bounds the nodes of a pair by the administrator's pools. Pure.
    """
    by_node: dict[str, list[Device]] = {}
    for device in devices:
        by_node.setdefault(device.node, []).append(device)
    found: list[Keep] = []
    for function in functions:
        asked = function.spec.scaling.pre_warm
        if (policy.pre_warm if asked is None else asked.policy) is PreWarmPolicy.NONE:
            continue
        for variant in function.variants:
            image = function.container_of(variant).image
            if image is None:
                continue
            needs = needs_of(function, variant)
            nodes = [
                name
                for name, owned in by_node.items()
                if any(sum(need.could_use(d) for d in owned) >= need.count for need in needs)
                and name in allowed.get((function.key, variant), by_node)
            ]
            # Where neither is, images are spread over the nodes, and stay where they are when others come and go.
            nodes.sort(
                key=lambda name: (
                    (image, name) not in kept,
                    image not in images(name),
                    zlib.crc32(f"{image} {name}".encode()),
                )
            )
            found += [Keep(function.key, variant, image, name) for name in nodes[: policy.prefetch_nodes]]
    return found


class PrefetchSync:
    """`await round(...)` every LOOK_S while this process leads."""

    def __init__(
        self,
        kube: KubeClient,
        params: Callable[[Function, Variant], PodParams],
        check: Callable[[Function, dict[str, Any]], None],
        clock_us: Callable[[], int],
        metrics: MetricsSink,
    ) -> None:
        """`check` raises NotMade for a pod that admission made forbidden."""
        self._kube = kube
        self._params = params
        self._check = check
        self._clock_us = clock_us
        self._metrics = metrics
        self._refused: dict[str, tuple[Reason, str]] = {}
        self._not_before_us: dict[str, int] = {}

    def problem(self, key: str) -> tuple[Reason, str] | None:
        """Why an image of a function is not kept; None when it is, or is not wanted."""
        return self._refused.get(key)

    async def round(self, wanted: list[Keep], functions: Mapping[str, Function], pods: Iterable[Pod]) -> list[str]:
        """Make what is missing and remove what is no longer wanted; the functions with news about that. Never raises
        KubeError: the next round retries.
        """
        present = {(pod.metadata.namespace, pod.metadata.name): pod for pod in pods}
        names: set[tuple[str, str]] = set()
        failing: dict[str, tuple[Reason, str]] = {}
        wanting = {keep.function for keep in wanted}
        self._not_before_us = {key: at_us for key, at_us in self._not_before_us.items() if key in wanting}
        for keep in wanted:
            function = functions.get(keep.function)
            if function is None:
                continue  # it went while the pod of another one was made
            slot = (function.namespace, prefetch_name(function, keep.image, keep.node))
            pod = present.get(slot)
            if pod is not None and pod.status.phase in ENDED:
                continue  # evicted, perhaps: not wanted as it is, and made anew when it is gone
            names.add(slot)
            if pod is not None:
                trouble = pull_trouble(pod)
                if trouble is not None:
                    failing[keep.function] = (Reason.IMAGE_PULL_FAILED, trouble)
                continue
            if self._not_before_us.get(keep.function, 0) > self._clock_us():
                failing.setdefault(keep.function, self._refused.get(keep.function, (Reason.POD_REFUSED, "refused")))
                continue
            refused = await self._make(function, keep)
            if refused is not None:
                failing[keep.function] = refused
                self._not_before_us[keep.function] = self._clock_us() + round(RETRY_S * 1e6)
        news = [key for key in self._refused.keys() | failing.keys() if self._refused.get(key) != failing.get(key)]
        self._refused = failing
        for slot, pod in present.items():
            if slot not in names and pod.metadata.deletion_timestamp is None:
                await self._remove(pod)
        return news

    async def _make(self, function: Function, keep: Keep) -> tuple[Reason, str] | None:
        body = prefetch_pod(function, keep.image, keep.node, self._params(function, keep.variant))
        try:
            raw = await self._kube.create(RAW_PODS, body, function.namespace)
            await self._check_created(function, raw)
        except AlreadyExists:
            return None
        except NotMade as refusal:
            return refusal.reason, refusal.detail
        except ApiError as error:
            return why_pending(PodFacts(create_error=CreateError(status=error.status, message=error.message)))
        except KubeError as error:
            log.warning("image_not_kept", function=function.key, node=keep.node, error=str(error))
            return None
        self._metrics.inc(WRITES, PODS.plural, "create")
        log.info("image_kept", function=function.key, image=keep.image, node=keep.node)
        return None

    async def _check_created(self, function: Function, raw: dict[str, Any]) -> None:
        try:
            self._check(function, raw)
        except NotMade:
            await self._remove(msgspec.convert(raw, Pod, strict=False))
            raise

    async def _remove(self, pod: Pod) -> None:
        meta = pod.metadata
        try:
            await self._kube.delete(PODS, meta.name, meta.namespace, seen=Seen.of(pod))
        except (NotFound, Conflict):
            return
        except KubeError as error:
            log.warning("image_not_released", pod=f"{meta.namespace}/{meta.name}", error=str(error))
            return
        self._metrics.inc(WRITES, PODS.plural, "delete")


def pull_trouble(pod: Pod) -> str | None:
    """Why the image of a prefetch pod cannot be pulled, where the kubelet says so."""
    for status in pod.status.container_statuses:
        waiting = status.state.waiting
        if waiting is not None and waiting.reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName"):
            return waiting.message or waiting.reason
    return None


def kept_by(pod: Pod) -> tuple[str, str] | None:
    """The image and the node of a prefetch pod that has a node."""
    image = (pod.metadata.annotations or {}).get(A_IMAGE)
    return (image, pod.spec.node_name) if image and pod.spec.node_name else None
