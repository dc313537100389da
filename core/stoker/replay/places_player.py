"""The places of an agent, asked again as its log says that they were asked."""

from collections.abc import Callable
from typing import Any

from stoker.replay.comparison import Comparison, Unknown
from stoker.replay.picture import restored
from stoker.replay.records import CalledBack, GivenBack, Offered, Redeemed, Reserved
from stoker.slots.places import Places


class PlacesPlayer:
    """A ledger of today, and what it is compared by."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._places = Places()
        self.plays: dict[type, Callable[[Any], None]] = {
            Reserved: self._begin,
            Offered: self._offer,
            Redeemed: self._redeem,
            GivenBack: lambda record: self._places.give_back(record.id),
            CalledBack: self._call_back,
        }
        """What is done with each kind of record."""

    def _begin(self, record: Reserved) -> None:
        places = restored(record.state)
        if not isinstance(places, Places):
            raise Unknown("its places are none")
        self._places = places

    def _offer(self, record: Offered) -> None:
        place = self._places.offer(
            record.flow,
            record.beside,
            exec_us=record.exec_us,
            servers=record.servers,
            earliest_us=record.earliest_us,
            now_us=record.now_us,
            objective_us=record.objective_us,
            apart_us=record.apart_us,
            level=record.level,
        )
        self._comparison.same("offer", record.place, place)

    def _redeem(self, record: Redeemed) -> None:
        self._comparison.same("redeem", record.came_of_it, self._places.redeem(record.id, record.flow, record.now_us))

    def _call_back(self, record: CalledBack) -> None:
        at_us = self._places.come_back_us(
            record.flow,
            step_us=record.step_us,
            earliest_us=record.earliest_us,
            now_us=record.now_us,
            objective_us=record.objective_us,
        )
        self._comparison.same("call-back", record.at_us, at_us)
