"""Where Stoker runs: what a GpuFunction may ask for, and what acts, differs between the two."""

from enum import StrEnum


class Mode(StrEnum):
    EMBEDDED = "embedded"
    """`stoker serve`: replicas are processes of this machine."""
    KUBERNETES = "kubernetes"
    """Replicas are pods."""
