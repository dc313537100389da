"""Keeps one pod away from nodes where it should not go now (stoker.control.planning.Start.avoid_nodes). Pure."""

import copy
from collections.abc import Collection
from typing import Any

from stoker.wire.cluster import GROUP

A_AVOIDS = f"{GROUP}/avoids"
"""Annotation: the nodes that were ruled out when the pod was made."""
_TERMS = ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")


def avoid_nodes(pod: dict[str, Any], nodes: Collection[str]) -> dict[str, Any]:
    """The pod with `nodes` ruled out. Every term gets it: terms are alternatives, and each must rule them out."""
    if not nodes:
        return pod
    pod = copy.deepcopy(pod)
    pod["metadata"].setdefault("annotations", {})[A_AVOIDS] = ",".join(sorted(nodes))
    place = pod["spec"].setdefault("affinity", {})
    for name in _TERMS[:-1]:
        place = place.setdefault(name, {})
    terms = place.setdefault(_TERMS[-1], []) or [{}]
    place[_TERMS[-1]] = [
        {
            **term,
            "matchFields": [
                *term.get("matchFields", ()),
                # One node a requirement: the field selector takes a single value.
                *({"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in sorted(nodes)),
            ],
        }
        for term in terms
    ]
    return pod
