"""What is different in two versions of an applied object, for the log."""

import msgspec

from stoker.model.policy import Policy

_QUIET = frozenset(("warnings",))


def changes_between(before: Policy, after: Policy) -> dict[str, str]:
    """The fields of a policy that changed, as `old -> new`; of what is not one word only that it changed."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(Policy):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old != new and field.name not in _QUIET:
            plain = isinstance(old, str) and isinstance(new, str)
            found[field.name] = f"{old} -> {new}" if plain else "changed"
    return found
