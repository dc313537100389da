"""Makes the pod of one replica: the stored template, its name, what it avoids, and the last check before it is sent.

The one place that the operator gets pods from. Knows no API call but the one that stores a revision.
"""

from collections.abc import Callable
from typing import Any

from stoker.control.planning import Start
from stoker.errors import InvalidObject
from stoker.model.function import Function, Variant
from stoker.model.policy import Policy
from stoker.pods.avoid import avoid_nodes
from stoker.pods.forbidden import forbidden
from stoker.pods.instance import instantiate
from stoker.pods.params import PodParams
from stoker.reasons import Reason
from stoker_operator.node_choice import pool_of
from stoker_operator.not_made import NotMade
from stoker_operator.revisions import Revisions


class PodMaker:
    """`policy` is asked each time: it acts live."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        accounts: Callable[[str], frozenset[str]],
        base: PodParams,
    ) -> None:
        """`accounts` gives the ServiceAccounts of a namespace that functions may name; `base` is the installation's."""
        self._policy = policy
        self._accounts = accounts
        self._base = base

    def params(self, function: Function, variant: Variant) -> PodParams:
        """What the administrator and the installation add to the pods of a function."""
        policy, namespace = self._policy(), function.namespace
        return PodParams(
            system_namespace=self._base.system_namespace,
            wait_image=self._base.wait_image,
            pause_image=self._base.pause_image,
            grant_host=self._base.grant_host,
            grant_port=self._base.grant_port,
            scheduler_name=self._base.scheduler_name,
            rule=policy.rule(namespace),
            pool=pool_of(function, variant, policy),
            allowed_service_accounts=self._accounts(namespace),
            ephemeral_storage_mib=self._base.ephemeral_storage_mib,
            product_label=self._base.product_label,
        )

    async def body(self, start: Start, revisions: Revisions) -> dict[str, Any]:
        """The pod to create. Raises NotMade."""
        function, spec = start.function, start.spec
        template = await revisions.template(function, spec.variant)
        try:
            pod = instantiate(
                template, function=function, replica_id=spec.id, params=self.params(function, spec.variant)
            )
        except InvalidObject as error:
            raise NotMade(Reason.POD_REFUSED, str(error)) from None
        pod = avoid_nodes(pod, start.avoid_nodes)
        self.check(function, pod)
        return pod

    def check(self, function: Function, pod: dict[str, Any]) -> None:
        """Raise NotMade for a pod with something on the forbidden list, made by us or given back by the API server."""
        rule = self._policy().rule(function.namespace)
        problem = forbidden(pod, level=rule.pod_security, allowed_service_accounts=self._accounts(function.namespace))
        if problem is not None:
            raise NotMade(Reason.POD_REFUSED, f"the pod would break out of what functions may do: {problem}")
