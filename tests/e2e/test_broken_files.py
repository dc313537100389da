"""Broken files beside good ones: one line for each, and the platform goes on."""

import asyncio
import os
from pathlib import Path

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(30)]

BAD = sorted((Path(__file__).parents[1] / "contract" / "crd_examples" / "bad").glob("*.yaml"))
CORES_OF_THE_EXAMPLE = 64


def expected(file: Path) -> tuple[str, str]:
    """Path and reason that the first line of an example names."""
    first = file.read_bytes().split(b"\n", 1)[0].decode()
    path, reason = first.removeprefix("# expect: ").split(" | ")
    return path.strip(), reason


async def test_every_broken_file_is_one_line_and_the_platform_goes_on(platform: Platform) -> None:
    bad = [file for file in BAD if file.stem != "cpu-over-the-cores" or (os.cpu_count() or 1) < CORES_OF_THE_EXAMPLE]
    platform.apply(function("good", scaling={"minReplicas": 1}))
    await platform.start(gpus="1xA100-40GB,1xL4-24GB")
    await platform.until_warm("good")
    statuses: list[int] = []

    async def keep_calling() -> None:
        while True:
            statuses.append((await platform.call("good")).status)
            await asyncio.sleep(0.02)

    def lines() -> list[str]:
        return [line for line in platform.output.read_text().splitlines() if line.startswith("stoker: ")]

    def told() -> bool:
        text = platform.output.read_text()
        return all(f"/{file.name}:" in text for file in bad)

    caller = asyncio.create_task(keep_calling())
    for file in bad:
        (platform.functions / file.name).write_bytes(file.read_bytes())
    await platform.until(told, "a line for each broken file")
    before = len(statuses)
    await platform.until(lambda: len(statuses) > before + 20, "calls after the broken files")
    for file in bad:
        path, reason = expected(file)
        own = [line for line in lines() if f"/{file.name}:" in line]
        assert len(own) == 1, own
        assert reason in own[0]
        assert path == "*" or path in own[0]
    assert len(lines()) == len(bad)
    assert await platform.metric("stoker_objects_rejected_total") == len(bad)
    # What is broken does not stand in the way of what is right, nor of the file becoming right.
    assert {"default/a", "default/c"} <= (await platform.state())["functions"].keys()
    platform.apply(function("mended"), file="wrong-type.yaml")
    platform.apply(function("mended-too"), file="not-utf8.yaml")

    async def mended() -> bool:
        functions: set[str] = set((await platform.state())["functions"])
        return {"default/mended", "default/mended-too"} <= functions

    await platform.until(mended, "mended files act")
    assert (await platform.call("mended")).status == 200
    caller.cancel()
    assert set(statuses) == {200}
    assert len(lines()) == len(bad)
    assert await platform.stop() == 0
