"""The device-choice policies by name. Adding one is a line here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from stoker.errors import UnknownName
from stoker.policies.device_choice.interface import DEFAULTS, ChoiceParams, DeviceChoice
from stoker.policies.device_choice.landlord import Landlord
from stoker.policies.device_choice.one_kind import CpuOnly, GpuOnly
from stoker.policies.device_choice.slack import Slack
from stoker.policies.device_choice.speed_up import SpeedUp


class MakeChoice(Protocol):
    """Makes a policy; the classes of the policies themselves."""

    def __call__(self, params: ChoiceParams = DEFAULTS) -> DeviceChoice: ...


DEVICE_CHOICE: Mapping[str, MakeChoice] = MappingProxyType(
    {
        CpuOnly.name: CpuOnly,
        GpuOnly.name: GpuOnly,
        Landlord.name: Landlord,
        Slack.name: Slack,
        SpeedUp.name: SpeedUp,
    }
)


def make_device_choice(name: str, params: ChoiceParams = DEFAULTS) -> DeviceChoice:
    """A fresh policy of that name. Raises UnknownName, listing what there is."""
    make = DEVICE_CHOICE.get(name)
    if make is None:
        raise UnknownName(f"there is no device choice {name!r}; use one of: {', '.join(sorted(DEVICE_CHOICE))}")
    return make(params)
