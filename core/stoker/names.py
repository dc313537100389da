"""Every name that Stoker makes: flows, replicas, pods, revisions. Pure text, and each made name means one thing only.

`namespace/name` is the key of a function. A replica is `namespace/name-REVISION-ORDINAL`, the CPU variant beside a
GPU one `namespace/name-REVISION-cpu-ORDINAL`: the mark stands after the revision because a function may itself be
called `ocr-cpu`, and `cpu` is no revision, so names never meet.
"""

import hashlib
import re

from msgspec import Struct

from stoker.errors import InvalidObject
from stoker.model.function import Variant

LABEL_MAX = 63
REVISION_DIGITS = 10

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_REVISION = re.compile(rf"[0-9a-f]{{{REVISION_DIGITS}}}")
_REPLICA = re.compile(
    rf"(?P<function>[^/]+/[^/]+)-(?P<revision>[0-9a-f]{{{REVISION_DIGITS}}})(?P<cpu>-cpu)?-(?P<ordinal>0|[1-9][0-9]{{0,8}})"
)
_CPU_FLOW = ":cpu"


class ReplicaName(Struct, frozen=True, kw_only=True):
    """What a replica id says."""

    function: str
    """Key of its function."""
    revision: str
    ordinal: int
    beside_gpu: bool
    """True for the CPU variant of a function whose primary variant is the GPU one."""


def is_dns_label(text: str) -> bool:
    """Whether the text is a DNS-1123 label: 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end."""
    return _LABEL.fullmatch(text) is not None


def flow_of(function_key: str, variant: Variant, primary: Variant) -> str:
    """The flow that requests to a variant queue in: the key, with `:cpu` for the CPU variant beside a GPU one."""
    return function_key if variant is primary else function_key + _CPU_FLOW


def revision_of(canonical_json: bytes) -> str:
    """The revision of the fields that shape a process or pod, given as canonical JSON: 10 hex digits."""
    return hashlib.sha256(canonical_json).hexdigest()[:REVISION_DIGITS]


def replica_id(function_key: str, variant: Variant, primary: Variant, revision: str, ordinal: int) -> str:
    """The id of a replica. InvalidObject for a key, revision or ordinal that could not be parsed back."""
    _check_key(function_key)
    if _REVISION.fullmatch(revision) is None:
        raise InvalidObject("", f"{revision!r} is not a revision; it has {REVISION_DIGITS} hex digits")
    if not 0 <= ordinal < 10**9:
        raise InvalidObject("", f"{ordinal} is not the ordinal of a replica; ordinals count from 0")
    mark = "" if variant is primary else "-cpu"
    return f"{function_key}-{revision}{mark}-{ordinal}"


def parse_replica_id(text: str) -> ReplicaName:
    """What a replica id says; InvalidObject for anything that replica_id() does not make."""
    match = _REPLICA.fullmatch(text)
    if match is None:
        raise InvalidObject("", f"{text!r} is not a replica; write NAMESPACE/FUNCTION-REVISION-ORDINAL")
    _check_key(match["function"])
    return ReplicaName(
        function=match["function"],
        revision=match["revision"],
        ordinal=int(match["ordinal"]),
        beside_gpu=match["cpu"] is not None,
    )


def pod_name(replica: str) -> str:
    """A name for the pod of a replica id, unique in its namespace: a DNS label.

    One that would be longer than a label is cut and ends in `-x` and a hash of the whole id. Names that are not cut
    end in an ordinal, which has no `x`, so the two kinds never meet.
    """
    parse_replica_id(replica)
    name = replica.partition("/")[2]
    if len(name) <= LABEL_MAX:
        return name
    suffix = "-x" + hashlib.sha256(replica.encode()).hexdigest()[:16]
    return name[: LABEL_MAX - len(suffix)].rstrip("-") + suffix


def _check_key(key: str) -> None:
    namespace, slash, name = key.partition("/")
    if not (slash and is_dns_label(namespace) and is_dns_label(name)):
        raise InvalidObject(
            "", f"{key!r} is not NAMESPACE/FUNCTION, each 1 to {LABEL_MAX} of a-z, 0-9 and -, no - at an end"
        )
