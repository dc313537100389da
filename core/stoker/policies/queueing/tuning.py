"""Constants of a queueing policy that a study may set otherwise (QueueParams.tuning). Nobody sets any live.

A policy declares them by name, each with the value that it has by default, and takes the values when it is made. Knows
no policy; whole numbers only, so that a log holds them and replays alike.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from stoker.errors import StokerError, UnknownName


class BadTuning(StokerError):  # noqa: N818  the name states the fact
    """A value that the constant cannot have. The text says which it can."""


class Constant(Struct, frozen=True):
    """One constant: what it is when nobody sets it, from where to where it may be set, and what it does."""

    default: int
    least: int
    most: int
    meaning: str


Constants = Mapping[str, Constant]
"""By the name that a scenario writes, in camelCase."""
NO_CONSTANTS: Constants = MappingProxyType({})


def settled(of: str, constants: Constants, given: Mapping[str, int]) -> dict[str, int]:
    """The value of each constant of the policy `of`: as given, else the default. Raises UnknownName and BadTuning."""
    for name, value in given.items():
        constant = constants.get(name)
        if constant is None:
            known = f"choose one of {', '.join(sorted(constants))}" if constants else "it has none"
            raise UnknownName(f"{of} has no constant named {name!r}; {known}")
        if not constant.least <= value <= constant.most:
            raise BadTuning(f"{name} of {of} cannot be {value}; give {constant.least} to {constant.most}")
    return {name: given.get(name, constant.default) for name, constant in constants.items()}
