"""A device choice that writes down what it is asked and what it answers, and in each file what it knows at first."""

from stoker.admission import Course, Forecasts
from stoker.agents_choice import GpuCrowd
from stoker.device_chooser import NOBODY, DeviceChooser
from stoker.model.function import Function
from stoker.policies.device_choice.interface import DEFAULTS, ChoiceParams
from stoker.replay.gateway_records import Choosing, Coursed, Crowded
from stoker.replay.journal import Journal
from stoker.replay.picture import picture


class RecordedChooser(DeviceChooser):
    """The device choice of one gateway."""

    def __init__(self, name: str, params: ChoiceParams, journal: Journal) -> None:
        super().__init__(name, params)
        self._journal = journal
        self._told = NOBODY
        """What the log says is on the GPUs."""

    def begin_file(self, journal: Journal) -> None:
        plain = DeviceChooser(self.name)
        plain._policy, plain._home = self._policy, self._home  # noqa: SLF001  of the class itself, without the journal
        self._told = NOBODY
        journal.put(Choosing(picture(plain)))

    def exchange(self, name: str, params: ChoiceParams = DEFAULTS) -> None:
        super().exchange(name, params)
        if self._journal.open:
            self.begin_file(self._journal)

    def course(
        self, function: Function, forecasts: Forecasts, remaining_us: int, *, wakes: bool, crowd: GpuCrowd = NOBODY
    ) -> Course:
        course = super().course(function, forecasts, remaining_us, wakes=wakes, crowd=crowd)
        if self._journal.open:
            if crowd is not self._told:
                self._told = crowd
                self._journal.put(Crowded(crowd))
            ref = self._journal.ref(function)
            self._journal.write(Coursed(ref, dict(forecasts), remaining_us, course, wakes))
        return course
