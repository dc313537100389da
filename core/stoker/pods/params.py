"""What the administrator and the installation add to a pod; a function's owner has no say in any of it."""

from msgspec import Struct

from stoker.model.policy import NamespaceRule, Pool
from stoker.wire.cluster import PORT_GRANT, SCHEDULER_NAME


class PodParams(Struct, frozen=True, kw_only=True):
    """For the pods of one function and variant: its namespace's rule and the pool that takes it are part of it."""

    system_namespace: str
    """Where Stoker itself runs; functions may not be there, since its Secrets are."""
    wait_image: str
    """Image whose entry point waits until the agent grants the pod its shared device."""
    pause_image: str
    """Image that does nothing, for pods that keep an image on a node."""
    grant_host: str
    """Full DNS name of the agents' Service."""
    grant_port: int = PORT_GRANT
    scheduler_name: str = SCHEDULER_NAME
    rule: NamespaceRule = NamespaceRule()
    pool: Pool | None = None
    allowed_service_accounts: frozenset[str] = frozenset()
    """Accounts of the function's namespace that carry L_FUNCTION_ACCOUNT."""
    ephemeral_storage_mib: int | None = None
    """Bound of what a replica writes to its own disk, HOME and /tmp included; None: the node's."""
    product_label: str | None = "nvidia.com/gpu.product"
    """Node label with the product of its GPUs, which NVIDIA's feature discovery writes; None where nothing does."""
