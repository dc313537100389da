"""The key of tickets comes, is changed and is read without a moment in which one gateway cannot open another's."""

import asyncio
import datetime as dt
from itertools import count, pairwise

import pytest
from secret_store import SecretStoreForTests

from stoker.model.function import Variant
from stoker.tickets import KEY_BYTES, Ticket, TicketKeys, seal, unseal
from stoker.wire.cluster import K_TICKET_CURRENT, K_TICKET_OTHER, TICKET_SECRET
from stoker_gateway.kubernetes.ticket_keys import TicketKeyReader
from stoker_operator.ticket_keys import CHANGE_EVERY, SPREAD, TicketKeyMaker
from stoker_runtime.kube.errors import ApiError, Conflict

pytestmark = pytest.mark.unit

TICKET = Ticket(b"a" * 8, "p", Variant.GPU, 1, 1)
MINUTE = dt.timedelta(minutes=1)


class World:
    def __init__(self) -> None:
        self.kube = SecretStoreForTests()
        self.now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        numbers = count(1)
        self.maker = TicketKeyMaker(
            self.kube, "stoker-system", lambda: self.now, lambda: bytes([next(numbers)]) * KEY_BYTES
        )

    async def after(self, time: dt.timedelta) -> bool:
        """Whether something is written when it looks then."""
        self.now += time
        self.kube.writes.clear()
        await self.maker.ensure()
        return self.kube.writes == [TICKET_SECRET]

    def keys(self) -> TicketKeys:
        data = self.kube.objects[TICKET_SECRET].data
        assert data is not None
        return TicketKeys(data[K_TICKET_CURRENT], data[K_TICKET_OTHER])


@pytest.fixture
async def world() -> World:
    world = World()
    await world.maker.ensure()
    return world


def opens(one: TicketKeys, other: TicketKeys) -> bool:
    return unseal(one, seal(other, TICKET, "ns/f"), "ns/f") == TICKET


async def test_the_first_look_makes_a_key_and_the_next_ones_keep_it(world: World) -> None:
    keys = world.keys()
    assert len(keys.current) == KEY_BYTES
    assert not await world.after(MINUTE)
    assert world.keys() == keys


async def test_while_a_key_is_changed_every_gateway_opens_what_any_other_seals(world: World) -> None:
    seen = [world.keys()]
    assert await world.after(CHANGE_EVERY)
    seen.append(world.keys())
    assert seen[1].current == seen[0].current, "it is handed out before it is used"
    assert not await world.after(SPREAD - MINUTE)
    assert await world.after(MINUTE)
    seen.append(world.keys())
    assert seen[2].current == seen[1].other
    assert await world.after(CHANGE_EVERY)
    seen.append(world.keys())
    for earlier, later in pairwise(seen):
        assert opens(earlier, later)
        assert opens(later, earlier)
    assert not opens(seen[3], TicketKeys(seen[0].current)), "the key of a change before is forgotten"


async def test_a_secret_that_holds_no_key_is_written_anew_and_one_with_a_good_key_is_changed_in_order(
    world: World,
) -> None:
    world.kube.put(TICKET_SECRET, {K_TICKET_CURRENT: b"short"})
    assert await world.after(MINUTE)
    before = world.keys()
    world.kube.put(TICKET_SECRET, {K_TICKET_CURRENT: before.current, "step": b"nonsense"})
    assert await world.after(MINUTE)
    assert opens(world.keys(), before)
    assert world.keys().other


async def test_two_leaders_agree_on_one_key(world: World) -> None:
    other = World()
    other.kube = world.kube
    other.maker = TicketKeyMaker(world.kube, "stoker-system", lambda: other.now, lambda: b"z" * KEY_BYTES)
    keys = world.keys()
    await other.maker.ensure()
    assert world.keys() == keys


async def test_what_another_one_changed_meanwhile_is_not_overwritten(world: World) -> None:
    get = world.kube.get

    async def get_and_be_overtaken(*of: object) -> object:
        seen = await get(*of)  # type: ignore[arg-type]
        world.kube.put(TICKET_SECRET, dict(seen.data or {}))
        return seen

    world.kube.get = get_and_be_overtaken  # type: ignore[method-assign,assignment]
    with pytest.raises(Conflict):
        await world.after(CHANGE_EVERY)


async def test_a_gateway_takes_the_key_when_it_is_there_and_each_change_of_it() -> None:
    world = World()
    taken: list[TicketKeys] = []
    reader = TicketKeyReader(world.kube, "stoker-system", taken.append, reread_s=0.001, retry_s=0.001)
    reader.start()
    try:
        async with asyncio.timeout(5):
            while world.kube.reads < 3:
                await asyncio.sleep(0.001)
            assert not taken
            await world.maker.ensure()
            while not taken:
                await asyncio.sleep(0.001)
            world.kube.fail = ApiError("get", 500, "Broken", "broken")
            reads = world.kube.reads
            while world.kube.reads < reads + 2:
                await asyncio.sleep(0.001)
            world.kube.fail = None
            world.kube.put(TICKET_SECRET, {K_TICKET_CURRENT: b"short"})
            reads = world.kube.reads
            while world.kube.reads < reads + 2:
                await asyncio.sleep(0.001)
            assert len(taken) == 1, "what was read last stays good"
            await world.after(MINUTE)
            while len(taken) < 2:
                await asyncio.sleep(0.001)
    finally:
        await reader.stop()
    assert taken[1] == world.keys()
