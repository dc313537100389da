"""Apply, change and delete while running: revisions, roll-back, drain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


@asynccontextmanager
async def constant_calls(platform: Platform, name: str) -> AsyncIterator[list[tuple[int, str]]]:
    """Three clients that call without pause; what they were answered."""
    answers: list[tuple[int, str]] = []
    stop = asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            answer = await platform.call(name, "/whoami")
            answers.append((answer.status, answer.text.split()[-1]))

    clients = [asyncio.create_task(client()) for _ in range(3)]
    yield answers
    stop.set()
    await asyncio.gather(*clients)


async def condition(platform: Platform, name: str) -> str:
    return str((await platform.state())["functions"][f"default/{name}"]["conditions"])


@pytest.mark.parametrize("gpus", ["2xA100-40GB", "1xA100-40GB"])
async def test_a_new_revision_takes_over_without_a_failed_request(platform: Platform, gpus: str) -> None:
    platform.apply(function("web", env={"TAG": "one"}, scaling={"maxReplicas": 1}))
    await platform.start(gpus=gpus)
    async with constant_calls(platform, "web") as answers:
        await platform.until(lambda: (200, "one") in answers, "revision one answers")
        platform.apply(function("web", env={"TAG": "two", "START_S": "0.5"}, scaling={"maxReplicas": 1}))
        await platform.until(lambda: (200, "two") in answers, "revision two answers")
        await asyncio.sleep(0.5)
    assert {status for status, _ in answers} == {200}
    tags = [tag for _, tag in answers]
    assert tags[-1] == "two"
    await platform.until(lambda: len(platform.processes()) <= 3, "the old process is gone")


@pytest.mark.parametrize("broken", [{"FAIL_START": "1"}, {"NEVER_READY": "1"}])
@pytest.mark.parametrize("gpus", ["2xA100-40GB", "1xA100-40GB"])
async def test_a_broken_revision_is_rolled_back_with_the_old_one_serving(
    platform: Platform, broken: dict[str, str], gpus: str
) -> None:
    platform.apply(function("web", env={"TAG": "good"}, scaling={"minReplicas": 1, "maxReplicas": 1}))
    await platform.start(gpus=gpus)
    await platform.until_warm("web")
    async with constant_calls(platform, "web") as answers:
        await platform.until(lambda: (200, "good") in answers, "the good revision answers")
        platform.apply(
            function(
                "web",
                env={"TAG": "bad", **broken},
                scaling={"minReplicas": 1, "maxReplicas": 1},
                rollout={"progressDeadline": "3s"},
            )
        )

        async def rolled_back() -> bool:
            return "RolloutFailed" in await condition(platform, "web")

        await platform.until(rolled_back, "RolloutFailed", 20)
        count = len(answers)
        await platform.until(lambda: len(answers) > count + 20, "the good revision still answers")
    assert set(answers) == {(200, "good")}
    platform.apply(function("web", env={"TAG": "mended"}, scaling={"minReplicas": 1, "maxReplicas": 1}))

    async def mended() -> bool:
        return "mended" in (await platform.call("web", "/whoami")).text

    await platform.until(mended, "a later good revision is taken")


async def test_fields_that_do_not_shape_the_process_act_live(platform: Platform) -> None:
    platform.apply(function("live", scaling={"minReplicas": 1}))
    await platform.start()
    await platform.until_warm("live")
    pid = (await platform.call("live", "/whoami")).text.split()[0]

    async def timeout_acts() -> bool:
        return (await platform.call("live", "/sleep?ms=600")).status == 504

    platform.apply(function("live", slo={"latency": "200ms"}, timeout="300ms", scaling={"minReplicas": 1}))
    await platform.until(timeout_acts, "the new timeout acts")
    await asyncio.sleep(1)
    assert (await platform.call("live", "/whoami")).text.split()[0] == pid


async def test_delete_drains(platform: Platform) -> None:
    path = platform.apply(function("leaving"))
    await platform.start()
    running = asyncio.create_task(platform.call("leaving", "/sleep?ms=1500"))
    await platform.until(lambda: platform.events("begin"), "it runs")
    path.unlink()

    async def gone() -> bool:
        return (await platform.call("leaving")).status == 404

    await platform.until(gone, "new requests are 404")
    assert (await running).status == 200
    await platform.until(lambda: len(platform.processes()) <= 2, "its process is gone")


async def test_a_file_that_turns_bad_keeps_its_last_good_function(platform: Platform) -> None:
    path = platform.apply(function("kept"))
    await platform.start()
    assert (await platform.call("kept")).status == 200
    path.write_text("spec: [not, a, function")
    await platform.until(lambda: "kept.yaml" in platform.output.read_text(), "the error is printed")
    assert (await platform.call("kept")).status == 200
