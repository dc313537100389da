"""Places that write down what they are asked and what they answer.

Not what is reserved until when: who decides by it writes it with the decision.
"""

from collections.abc import Collection

from stoker.replay.journal import Journal
from stoker.replay.picture import picture
from stoker.replay.records import CalledBack, GivenBack, Offered, Redeemed, Reserved
from stoker.slots.places import Place, Places, Redemption


class RecordedPlaces(Places):
    """The ledger of one agent."""

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name)
        self._journal = journal

    def begin_file(self, journal: Journal) -> None:
        plain = Places()
        plain.__dict__.update({name: held for name, held in self.__dict__.items() if name != "_journal"})
        journal.put(Reserved(picture(plain)))

    def offer(
        self,
        flow: str,
        beside: Collection[str],
        *,
        exec_us: int,
        servers: int,
        earliest_us: int,
        now_us: int,
        objective_us: int,
        apart_us: int = 0,
        level: int = 0,
    ) -> Place | None:
        place = super().offer(
            flow,
            beside,
            exec_us=exec_us,
            servers=servers,
            earliest_us=earliest_us,
            now_us=now_us,
            objective_us=objective_us,
            apart_us=apart_us,
            level=level,
        )
        if self._journal.open:
            asked = (flow, sorted(beside), exec_us, servers, earliest_us, now_us, objective_us, apart_us, level)
            self._journal.write(Offered(*asked, place))
        return place

    def redeem(self, place_id: str, flow: str, now_us: int) -> Redemption:
        redemption = super().redeem(place_id, flow, now_us)
        if self._journal.open:
            self._journal.write(Redeemed(place_id, flow, now_us, redemption))
        return redemption

    def give_back(self, place_id: str) -> None:
        super().give_back(place_id)
        if self._journal.open:
            self._journal.write(GivenBack(place_id))

    def come_back_us(self, flow: str, *, step_us: int, earliest_us: int, now_us: int, objective_us: int) -> int:
        at_us = super().come_back_us(
            flow, step_us=step_us, earliest_us=earliest_us, now_us=now_us, objective_us=objective_us
        )
        if self._journal.open:
            self._journal.write(CalledBack(flow, step_us, earliest_us, now_us, objective_us, at_us))
        return at_us
