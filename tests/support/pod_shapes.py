"""The pods of tests/contract/pod_shapes: documents of functions, hostile and not, and paths into their pods."""

import copy
import re
from pathlib import Path
from typing import Any

from msgspec import yaml

from stoker.model.function import Function, Variant
from stoker.model.mode import Mode
from stoker.model.policy import NamespaceRule, PodSecurity
from stoker.names import replica_id
from stoker.pods.build import build_pod
from stoker.pods.instance import instantiate
from stoker.pods.params import PodParams
from stoker.wire.crd import decode_function
from stoker_cli.objects.structural import with_defaults

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "contract" / "pod_shapes"
SERVERS = sorted((FILES / "servers").glob("*.yaml"))
_CRD = yaml.decode((ROOT / "crds" / "gpufunctions.stoker.dev.yaml").read_text())
_SCHEMA = _CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SYSTEM = "stoker-system"


def params(
    level: PodSecurity = PodSecurity.RESTRICTED, *, label_prefixes: tuple[str, ...] = (), **changes: Any
) -> PodParams:
    """An installation in `stoker-system`; the account `runner` may be used."""
    values: dict[str, Any] = {
        "system_namespace": SYSTEM,
        "wait_image": "registry.example/stoker/wait:1",
        "pause_image": "registry.example/stoker/pause:1",
        "grant_host": "stoker-node.stoker-system.svc.cluster.local",
        "rule": NamespaceRule(pod_security=level, label_prefixes=label_prefixes),
        "allowed_service_accounts": frozenset({"runner"}),
    }
    return PodParams(**(values | changes))


def entries(name: str) -> list[dict[str, Any]]:
    """One of the tables."""
    loaded: list[dict[str, Any]] = yaml.decode((FILES / f"{name}.yaml").read_text())
    return loaded


def document_of(
    *,
    container: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A harmless function with some fields over it; null takes a field away."""
    whole: dict[str, Any] = {
        "container": {"image": "registry.example/app:1", "port": 8080} | (container or {}),
        "gpu": {"memory": "1Gi"},
        "slo": {"latency": "250ms"},
    } | (spec or {})
    whole["container"] = {name: value for name, value in whole["container"].items() if value is not None}
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": "f", "namespace": "team"} | (metadata or {}),
        "spec": whole,
    }


def decoded(document: dict[str, Any], *, uid: str = "uid-1") -> Function:
    """As the operator decodes what the API server gave it, with defaults and nothing validated."""
    defaulted = with_defaults(_SCHEMA, document)
    return decode_function(defaulted, uid=uid, generation=1, mode=Mode.KUBERNETES)


def server(file: Path) -> dict[str, Any]:
    """The document of a file."""
    loaded: dict[str, Any] = yaml.decode(file.read_text())
    return loaded


def pod_of(function: Function, variant: Variant | None = None, with_params: PodParams | None = None) -> dict[str, Any]:
    """The pod of the function's first replica."""
    variant = variant or function.primary
    template = build_pod(function, variant, with_params or params())
    replica = replica_id(function.key, variant, function.primary, function.revision, 0)
    return instantiate(template, function=function, replica_id=replica)


def look_up(value: Any, path: str) -> Any:
    """The value at `a.b.0.c`; a dot in a name is written `\\.`. None where there is nothing."""
    for step in _steps(path):
        if isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def put(value: dict[str, Any], paths: dict[str, Any]) -> dict[str, Any]:
    """A copy with values at paths; an index behind a list's end appends, and None takes away."""
    result: Any = copy.deepcopy(value)
    for path, new in paths.items():
        *way, last = _steps(path)
        at = result
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
        if isinstance(at, list):
            at[int(last) :] = [new]
        elif new is None:
            at.pop(last, None)
        else:
            at[last] = new
    changed: dict[str, Any] = result
    return changed


def _steps(path: str) -> list[str]:
    return [step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", path)]
