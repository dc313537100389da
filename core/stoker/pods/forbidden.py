"""The operator's own re-check of a pod before it is created and as the API server gave it back: the forbidden list.

Admission may be off or misconfigured, a hole of ours may be found, and mutating webhooks change what the builder made.
What they normally add is allowed (sidecars, environment, tolerations, mounts, tokens for others than the API server);
what would take a pod out of its sandbox is not. Knows no function: only the pod, as JSON data of whatever form.
"""

from collections.abc import Collection, Iterator
from typing import Any

from stoker.model.policy import PodSecurity
from stoker.wire.cluster import MAIN_CONTAINER, WAIT_CONTAINER

VOLUME_KINDS = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
DEFAULT_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
"""What Pod Security `baseline` lets a container add; `restricted`: NET_BIND_SERVICE."""
_SELINUX_TYPES = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_OWN_CONTAINERS = (MAIN_CONTAINER, WAIT_CONTAINER)
_NO_DEVICES = ("void", "none")
FOREIGN_ANNOTATIONS = (
    "cdi.k8s.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "hami.io/",
    "io.katacontainers.",
    "io.kubernetes.cri-o.",
    "io.kubernetes.cri.",
    "kai.scheduler/",
    "nvidia.cdi.k8s.io/",
    "nvidia.com/",
    "run.ai/",
    "scheduler.alpha.kubernetes.io/",
    "scheduling.k8s.io/",
    "scheduling.volcano.sh/",
    "seccomp.security.alpha.kubernetes.io/",
    "volcano.sh/",
)
"""By these runtimes and other schedulers give a pod what the kubelet and Stoker did not; as in crds/admission."""
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"

Found = Iterator[str]


def forbidden(
    pod: dict[str, Any],
    *,
    level: PodSecurity = PodSecurity.RESTRICTED,
    allowed_service_accounts: Collection[str] = (),
) -> str | None:
    """The first thing in the pod that it must not have, in one sentence; None when there is none."""
    try:
        return next(_all(pod, level, allowed_service_accounts), None)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"the pod has not the form of a pod: {error}"


def _all(pod: dict[str, Any], level: PodSecurity, accounts: Collection[str]) -> Found:
    spec = pod["spec"]
    yield from _namespaces(spec)
    yield from _account(spec, accounts)
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from _volume(volume, f"spec.volumes[{index}]")
    yield from _pod_context(spec.get("securityContext") or {}, level)
    if spec.get("ephemeralContainers"):
        yield "spec.ephemeralContainers: nobody may enter the pod from outside"
    every = []
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            every.append(container)
            yield from _container(container, f"spec.{field}[{index}]", level)
    yield from _own(every, level, spec.get("securityContext") or {})
    yield from _annotations(pod.get("metadata", {}).get("annotations") or {})


def _annotations(annotations: dict[str, str]) -> Found:
    for key, text in annotations.items():
        if key.startswith(FOREIGN_ANNOTATIONS):
            yield f"metadata.annotations[{key}]: annotations of runtimes and of other schedulers are not allowed"
        if key.startswith(_APPARMOR) and text != "runtime/default" and not text.startswith("localhost/"):
            yield f"metadata.annotations[{key}]: {text} takes the AppArmor profile away"


def _namespaces(spec: dict[str, Any]) -> Found:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"spec.{field}: the pod would be in a namespace of its node"
    if spec.get("shareProcessNamespace"):
        yield "spec.shareProcessNamespace: its containers would see one another's processes and files"


def _account(spec: dict[str, Any], accounts: Collection[str]) -> Found:
    for field in ("serviceAccountName", "serviceAccount"):
        name = spec.get(field)
        if name not in (None, "", "default") and name not in accounts:
            yield f"spec.{field}: {name} is not an account that functions may have"
    if spec.get("automountServiceAccountToken") is not False:
        yield "spec.automountServiceAccountToken: must be false, so that no token of the API server is mounted"


def _volume(volume: dict[str, Any], path: str) -> Found:
    for kind, source in volume.items():
        if kind == "name":
            continue
        if kind not in VOLUME_KINDS:
            yield f"{path}.{kind}: a volume of this kind is not allowed"
        elif kind == "projected":
            for part in source.get("sources") or ():
                audience = (part.get("serviceAccountToken") or {}).get("audience") or ""
                if "serviceAccountToken" in part and (not audience or "kubernetes" in audience):
                    yield f"{path}.projected: a token that the API server takes is not allowed"
                if "podCertificate" in part:
                    yield f"{path}.projected: a certificate of the pod is not allowed"


def _pod_context(context: dict[str, Any], level: PodSecurity) -> Found:
    yield from _context(context, "spec.securityContext", level)
    for sysctl in context.get("sysctls") or ():
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"spec.securityContext.sysctls: {sysctl['name']} is not a safe one"


def _container(container: dict[str, Any], path: str, level: PodSecurity) -> Found:
    context = container.get("securityContext") or {}
    yield from _context(context, f"{path}.securityContext", level)
    if context.get("privileged"):
        yield f"{path}.securityContext.privileged: the container would own its node"
    if context.get("procMount") not in (None, "", "Default"):
        yield f"{path}.securityContext.procMount: must be Default"
    capabilities = context.get("capabilities") or {}
    may = DEFAULT_CAPABILITIES if level is PodSecurity.BASELINE else {"NET_BIND_SERVICE"}
    for capability in capabilities.get("add") or ():
        if capability not in may:
            yield f"{path}.securityContext.capabilities.add: {capability} is not allowed"
    if context.get("allowPrivilegeEscalation") is True and level is PodSecurity.RESTRICTED:
        yield f"{path}.securityContext.allowPrivilegeEscalation: must not be true"
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield f"{path}.ports: hostPort {port['hostPort']} would be a port of the node"
    if container.get("volumeDevices"):
        yield f"{path}.volumeDevices: block devices are not allowed"
    for mount in container.get("volumeMounts") or ():
        if mount.get("mountPropagation") not in (None, "", "None"):
            yield f"{path}.volumeMounts: mountPropagation {mount['mountPropagation']} reaches beyond the container"
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        yield from _action(container.get(name) or {}, f"{path}.{name}")
    for name in ("postStart", "preStop"):
        yield from _action((container.get("lifecycle") or {}).get(name) or {}, f"{path}.lifecycle.{name}")
    for item in container.get("env") or ():
        if item["name"] == "NVIDIA_VISIBLE_DEVICES" and item.get("value") not in _NO_DEVICES:
            yield f"{path}.env: NVIDIA_VISIBLE_DEVICES would give it devices that the kubelet did not"


def _action(action: dict[str, Any], path: str) -> Found:
    for kind in ("httpGet", "tcpSocket"):
        if (action.get(kind) or {}).get("host"):
            yield f"{path}.{kind}.host: the kubelet would call another host"


def _context(context: dict[str, Any], path: str, level: PodSecurity) -> Found:
    """What pods and containers have in common."""
    for field in ("seccompProfile", "appArmorProfile"):
        if (context.get(field) or {}).get("type") == "Unconfined":
            yield f"{path}.{field}: must not be Unconfined"
    labels = context.get("seLinuxOptions") or {}
    if labels.get("user") or labels.get("role") or labels.get("type") not in _SELINUX_TYPES:
        yield f"{path}.seLinuxOptions: user, role and types of other sandboxes are not allowed"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{path}.windowsOptions.hostProcess: the container would be a process of its node"
    if level is PodSecurity.RESTRICTED:
        if context.get("runAsUser") == 0:
            yield f"{path}.runAsUser: must not be root"
        if context.get("runAsNonRoot") is False:
            yield f"{path}.runAsNonRoot: must not be false"


def _own(containers: list[dict[str, Any]], level: PodSecurity, context: dict[str, Any]) -> Found:
    """What the builder gave its own containers must still be there."""
    own = [container for container in containers if container.get("name") in _OWN_CONTAINERS]
    if level is PodSecurity.RESTRICTED and context.get("runAsNonRoot") is not True:
        yield "spec.securityContext.runAsNonRoot: must be true"
    for container in own:
        given = container.get("securityContext") or {}
        name = container["name"]
        if given.get("allowPrivilegeEscalation") is not False:
            yield f"container {name}: allowPrivilegeEscalation must be false"
        if level is PodSecurity.RESTRICTED and "ALL" not in ((given.get("capabilities") or {}).get("drop") or ()):
            yield f"container {name}: must drop ALL capabilities"
    if not any(_asks_for_gpu(container) for container in containers):
        for container in own:
            if not any(item["name"] == "NVIDIA_VISIBLE_DEVICES" for item in container.get("env") or ()):
                yield f"container {container['name']}: without a GPU it must set NVIDIA_VISIBLE_DEVICES=void"


def _asks_for_gpu(container: dict[str, Any]) -> bool:
    limits = (container.get("resources") or {}).get("limits") or {}
    return any("/" in name for name in limits)
