"""The one builder of pods: a function, a variant and the administrator's part in, a template out. Pure.

A template has no name, ordinal or owner: it is stored with its revision and every later pod of that revision is made
of it (stoker.pods.instance), so another Stoker with another builder restarts nothing. Nothing enters that is not named
here: there is no way from a GpuFunction to a host path, a host namespace, a privilege or another namespace's object.
"""

from typing import Any

import msgspec

from stoker.errors import InvalidObject
from stoker.model.container import ContainerSpec
from stoker.model.function import Function, GpuOption, Sharing, Variant
from stoker.pods import scheduling, timing
from stoker.pods.administration import administer
from stoker.pods.environment import environment, no_devices
from stoker.pods.params import PodParams
from stoker.pods.security import own_security_context, pod_security_context
from stoker.pods.storage import storage
from stoker.wire import cluster


def build_pod(function: Function, variant: Variant, params: PodParams) -> dict[str, Any]:
    """The template of the pods of a variant. InvalidObject for what the administrator does not allow here."""
    container = function.container_of(variant)
    _check(function, variant, container, params)
    options = function.spec.gpu if variant is Variant.GPU else ()
    volumes, mounts = storage(container, function.spec.artifacts)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",  # a crash is seen, counted and backed off from by the operator, as every end is
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(container),
        **scheduling.placement(options, params),
        "containers": [_main(container, options, mounts, params)],
        "volumes": volumes,
    }
    if options and options[0].sharing is Sharing.SHARED:
        spec["initContainers"] = [_wait(params)]
    if container.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in container.image_pull_secrets]
    if container.service_account_name is not None:
        spec["serviceAccountName"] = container.service_account_name
    timing.set_times(spec, container, function.spec.timeout_us)
    labels, annotations = (
        {key: text for key, text in texts.items() if params.rule.allows_label(key)}
        for texts in (function.labels, function.annotations)
    )
    template = {
        "metadata": {
            "labels": labels
            | {
                cluster.L_FUNCTION: function.name,
                cluster.L_REVISION: function.revision,
                cluster.L_VARIANT: variant.value,
                cluster.L_ROLE: cluster.ROLE_REPLICA,
            },
            "annotations": annotations | {cluster.A_REPLICA: _replica(function, variant, container, options)},
        },
        "spec": spec,
    }
    administer(template, params, has_gpu=bool(options))
    return template


def _check(function: Function, variant: Variant, container: ContainerSpec, params: PodParams) -> None:
    if variant not in function.variants:
        raise InvalidObject("spec", f"{function.key} has no {variant.value} variant")
    if function.namespace == params.system_namespace:
        raise InvalidObject(
            "metadata.namespace", f"{function.namespace} is Stoker's own; create the function in another namespace"
        )
    account = container.service_account_name
    if account is not None and account not in params.allowed_service_accounts:
        raise InvalidObject(
            "spec.container.serviceAccountName",
            f"ServiceAccount {account} is not labelled {cluster.L_FUNCTION_ACCOUNT}=true in {function.namespace}; "
            "an administrator of the namespace must label it",
        )


def _main(
    container: ContainerSpec, options: tuple[GpuOption, ...], mounts: list[dict[str, Any]], params: PodParams
) -> dict[str, Any]:
    if container.image is None:
        raise InvalidObject("spec.container.image", "is needed on Kubernetes; name the image that holds the program")
    ports: list[dict[str, Any]] = [{"name": "http", "containerPort": container.port}]
    if container.metrics_port is not None:
        ports.append({"name": "metrics", "containerPort": container.metrics_port})
    main: dict[str, Any] = {
        "name": cluster.MAIN_CONTAINER,
        "image": container.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": ports,
        "env": environment(container, has_gpu=bool(options)),
        "resources": scheduling.resources(container, options, params),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **timing.probes(container),
    }
    if container.command:
        main["command"] = list(container.command)
    if container.args:
        main["args"] = list(container.args)
    return main


def _wait(params: PodParams) -> dict[str, Any]:
    """Holds the replica back until the agent has reserved the memory of the shared device that the pod really got."""
    return {
        "name": cluster.WAIT_CONTAINER,
        "image": params.wait_image,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": cluster.E_GRANT_HOST, "value": params.grant_host},
            {"name": cluster.E_GRANT_PORT, "value": str(params.grant_port)},
            {"name": cluster.E_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            no_devices(),
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "16Mi"}},
        "securityContext": own_security_context(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _replica(function: Function, variant: Variant, container: ContainerSpec, options: tuple[GpuOption, ...]) -> str:
    """The annotation without what only a pod has; stoker.pods.instance puts that in."""
    holds_cpu = variant is Variant.CPU
    replica = cluster.PodReplica(
        id="",
        function=function.key,
        function_uid=function.uid,
        variant=variant,
        revision=function.revision,
        ordinal=0,
        options=options,
        millicores=container.cpu_millis if holds_cpu else 0,
        memory_mib=(container.memory_mib or 0) if holds_cpu else 0,
        port=container.port,
        readiness_path=container.readiness.path,
    )
    return msgspec.json.encode(replica).decode()
