"""The functions of the cluster as this gateway serves them, and which hostnames lead to which.

Fed with objects before and after a change (watch caches, stoker_runtime.kube.watch). Knows no connection.
"""

from collections.abc import Callable

from stoker.hostnames import owners
from stoker.model.function import Function, Visibility
from stoker.model.policy import Policy
from stoker_gateway.kubernetes.cost_bounds import refused
from stoker_gateway.kubernetes.objects import GpuFunction, RefusedVariant
from stoker_runtime.applied_functions import AppliedFunctions
from stoker_runtime.applied_policy import AppliedPolicy
from stoker_runtime.own_kinds import Applied


class FunctionBook:
    """`changed` is called when anything that requests meet is different: cheap, may be called often."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._applied = AppliedFunctions()
        self._policy = AppliedPolicy()
        self._born: dict[str, str] = {}
        self.refused: dict[str, tuple[RefusedVariant, ...]] = {}
        """By key: variants that requests may not have for what they cost."""
        self._changed = changed

    @property
    def functions(self) -> dict[str, Function]:
        """By key, as of their last good generation. To be read only."""
        return self._applied.functions

    @property
    def policy(self) -> Policy:
        """The GpuPolicy that acts."""
        return self._policy.current

    def see_function(self, before: GpuFunction | None, after: GpuFunction | None) -> None:
        """One GpuFunction came, changed or went (None)."""
        meta = (after or before).metadata  # type: ignore[union-attr]  # one of the two is given
        key = meta.key
        known = self.functions.get(key)
        refused_before = self.refused.get(key, ())
        if after is None or meta.deletion_timestamp is not None:
            self._applied.remove(key)
            self._born.pop(key, None)
        elif self._applied.put(after):
            self._born[key] = meta.creation_timestamp
        said = refused(after) if key in self.functions else ()
        if said:
            self.refused[key] = said
        else:
            self.refused.pop(key, None)
        if self.functions.get(key) is not known or said != refused_before:
            self._changed()

    def see_policy(self, _before: Applied | None, after: Applied | None) -> None:
        """The GpuPolicy came, changed or went."""
        if self._policy.put(after):
            self._changed()

    def hostnames(self) -> dict[str, str]:
        """Whose each own hostname is, of the Public ones that are served by theirs."""
        asking = [key for key, function in self.functions.items() if function.spec.access.hostnames]
        if not asking:
            return {}
        # As the operator decides it: the oldest first.
        oldest_first = (self.functions[key] for key in sorted(asking, key=lambda key: (self._born[key], key)))
        taken, _ = owners(oldest_first, lambda namespace: self._policy.current.rule(namespace).hostname_suffixes)
        return {
            name: key for name, key in taken.items() if self.functions[key].spec.access.visibility is Visibility.PUBLIC
        }


def why_waiting(function: GpuFunction | None) -> str:
    """What a function is waiting for, by its Ready condition; empty where the operator has not said."""
    conditions = () if function is None or function.status is None else function.status.conditions or ()
    ready = next((condition for condition in conditions if condition.type == "Ready"), None)
    return "" if ready is None else ready.message or ready.reason
