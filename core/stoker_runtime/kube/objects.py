"""Which objects a call is about, and the metadata that they all have.

A caller declares the structs of the fields that it uses; unknown ones are skipped while decoding, which is why a
cache of 20,000 pods stays small. Knows no particular kind.
"""

from typing import Generic, Protocol, TypeVar
from urllib.parse import quote

from msgspec import Struct

T = TypeVar("T")


class OwnerReference(Struct, frozen=True, rename="camel", gc=False):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class SmallMeta(Struct, frozen=True, rename="camel", gc=False):
    """Metadata without what users write at any length: for kinds of which many are kept."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class ObjectMeta(SmallMeta, frozen=True, rename="camel", gc=False):
    """Metadata in full, as far as Stoker uses it.

    Labels and the like are None where the object has none, because an empty dict per object costs memory.
    """

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Condition(Struct, frozen=True, rename="camel", gc=False):
    """One entry of `status.conditions`."""

    type: str = ""
    status: str = "Unknown"
    reason: str = ""
    message: str = ""


class Metadata(Protocol):
    """What the metadata of an object in a cache must have at least."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class KubeObject(Protocol):
    """What every object in a cache must have."""

    @property
    def metadata(self) -> Metadata: ...


class Seen(Struct, frozen=True):
    """The state of an object that a write rests on: it is refused (Conflict) when the object is another one
    (`uid`) or, where `resource_version` is given too, has changed since.
    """

    uid: str
    resource_version: str = ""

    def __post_init__(self) -> None:
        # An apply with a resourceVersion and without a uid would *create* the object where it is gone.
        if not self.uid:
            raise ValueError("a precondition needs the uid of the object that was seen")

    @classmethod
    def of(cls, seen: KubeObject, *, unchanged: bool = False) -> "Seen":
        """Exactly this object; with `unchanged`, in exactly this version."""
        return cls(seen.metadata.uid, seen.metadata.resource_version if unchanged else "")


class Resource(Struct, Generic[T], frozen=True):
    """One kind of objects as this process reads them: `Resource("", "v1", "pods", True, Pod)`."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    namespaced: bool
    type: type[T]

    @property
    def api_version(self) -> str:
        """As it stands in manifests: `apps/v1`, or `v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of an object, or without `name` of the collection; without `namespace` that of all namespaces.

        Raises ValueError for an object of a namespaced kind without its namespace, and for the reverse.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self.plural} have no namespace, but {namespace} was given")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.plural} {name}: its namespace is missing")
        if subresource and not name:
            raise ValueError(f"{self.plural}: {subresource} of which object?")
        parts = ["apis" if self.group else "api", self.api_version]
        if namespace:
            parts += ["namespaces", _segment(namespace)]
        parts.append(self.plural)
        if name:
            parts.append(_segment(name))
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)


def _segment(text: str) -> str:
    """A name as one segment of a path. `..` would otherwise walk to another object."""
    if text in {".", ".."}:
        raise ValueError(f"{text} is not the name of an object")
    return quote(text, safe="")
