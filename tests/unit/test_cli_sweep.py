"""The series of deleted functions go with their last replica and request, whatever else breaks meanwhile."""

import asyncio

import pytest
from structlog.testing import capture_logs

from stoker_cli import sweep

pytestmark = pytest.mark.unit


class Swept:
    """A sweep over a sink; `alive` are the functions that something is left of, an exception: looking fails."""

    def __init__(self) -> None:
        self.forgotten: list[tuple[str, str]] = []
        self.alive: set[str] | Exception = set()
        self.looked = 0
        self.sweep = sweep.Sweep(self, self.look)

    def forget_function(self, namespace: str, function: str) -> None:
        self.forgotten.append((namespace, function))

    def look(self) -> set[str]:
        self.looked += 1
        if isinstance(self.alive, Exception):
            raise self.alive
        return self.alive

    async def looks(self, count: int) -> None:
        before = self.looked
        async with asyncio.timeout(5):
            while self.looked < before + count:
                await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SWEEP_S", 0.002)


async def test_what_is_left_of_a_deleted_function_is_forgotten_when_nothing_of_it_runs() -> None:
    swept = Swept()
    swept.alive = {"ns/f"}
    swept.sweep.functions_are({"ns/f", "ns/g", "ns/h"})
    swept.sweep.functions_are({"ns/g"})
    swept.sweep.start()
    await swept.looks(2)
    assert swept.forgotten == [("ns", "h")]
    swept.alive = set()
    await swept.looks(2)
    await swept.sweep.stop()
    assert swept.forgotten == [("ns", "h"), ("ns", "f")]


async def test_a_function_that_came_back_keeps_its_series() -> None:
    swept = Swept()
    for keys in ({"ns/f"}, set(), {"ns/f"}):
        swept.sweep.functions_are(keys)
    swept.sweep.start()
    await swept.looks(2)
    await swept.sweep.stop()
    assert swept.forgotten == []


async def test_a_sweep_that_fails_is_told_and_the_next_one_is_made() -> None:
    swept = Swept()
    swept.alive = RuntimeError("a defect")
    swept.sweep.functions_are({"ns/f"})
    swept.sweep.functions_are(set())
    with capture_logs() as told:
        swept.sweep.start()
        await swept.looks(2)
    assert {line["event"] for line in told} == {"sweep_failed"}
    assert swept.forgotten == []
    swept.alive = set()
    await swept.looks(2)
    await swept.sweep.stop()
    assert swept.forgotten == [("ns", "f")]
