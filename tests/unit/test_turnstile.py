"""New requests take turns, so that what is under way goes first."""

import asyncio

import pytest

from stoker_gateway.turnstile import AT_ONCE, Turnstile

pytestmark = pytest.mark.unit


async def test_a_crowd_is_looked_at_a_few_a_turn_and_in_its_order() -> None:
    turnstile, seen = Turnstile(), list[int]()

    async def come(number: int) -> None:
        await turnstile.enter(0)
        seen.append(number)

    crowd = [asyncio.create_task(come(number)) for number in range(5 * AT_ONCE)]
    most = before = 0
    while len(seen) < len(crowd):
        await asyncio.sleep(0)
        most, before = max(most, len(seen) - before), len(seen)
    assert most <= AT_ONCE
    assert seen == sorted(seen)


async def test_what_is_under_way_goes_on_between_the_turns_of_a_crowd() -> None:
    turnstile, seen = Turnstile(), list[str]()

    async def come() -> None:
        await turnstile.enter(0)
        seen.append("new")

    crowd = [asyncio.create_task(come()) for _ in range(10 * AT_ONCE)]
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(seen.append, "answer of a replica")
    await asyncio.gather(*crowd)
    assert seen.index("answer of a replica") <= 3 * AT_ONCE


async def test_nobody_waits_where_there_is_no_crowd() -> None:
    turnstile = Turnstile()
    for _ in range(3):
        for _ in range(AT_ONCE):
            # A coroutine that never waits ends at its first step.
            with pytest.raises(StopIteration):
                turnstile.enter(0).send(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_who_leaves_while_it_waits_takes_no_turn_of_others() -> None:
    turnstile, seen = Turnstile(), list[int]()

    async def come(number: int) -> None:
        await turnstile.enter(0)
        seen.append(number)

    crowd = [asyncio.create_task(come(number)) for number in range(4 * AT_ONCE)]
    await asyncio.sleep(0)
    for task in crowd[AT_ONCE : 3 * AT_ONCE]:
        task.cancel()
    done = await asyncio.gather(*crowd, return_exceptions=True)
    assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 2 * AT_ONCE
    assert seen == [*range(AT_ONCE), *range(3 * AT_ONCE, 4 * AT_ONCE)]
