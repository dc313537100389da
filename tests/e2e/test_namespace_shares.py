"""Two namespaces that share one GPU under backlog: device time by their weights, however many functions they have."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

EACH = 40
RUN_MS = 30
JUDGED = 32
"""Requests of one size in which the heavier namespace has about three quarters."""


def in_namespace(namespace: str, name: str) -> dict[str, Any]:
    made = function(
        name,
        gpu={"memory": "4Gi", "sharing": "Shared"},
        slo={"latency": "60s"},
        timeout="90s",
        scaling={"minReplicas": 1, "maxReplicas": 1},
    )
    made["metadata"]["namespace"] = namespace
    return made


async def until_warm(platform: Platform, key: str) -> None:
    namespace, _, name = key.partition("/")

    async def warm() -> bool:
        return await platform.metric("stoker_replicas", namespace=namespace, function=name, state="warm") == 1

    await platform.until(warm, f"{key} is warm")


def weigh(platform: Platform, queueing: str, **weights: int) -> None:
    policy = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}
    entries = [{"name": name.replace("_", "-"), "weight": weight} for name, weight in weights.items()]
    platform.apply({**policy, "spec": {"queueing": queueing, "namespaces": entries}}, file="policy.yaml")


async def served_first(platform: Platform, *functions: str) -> Counter[str]:
    """Requests of each namespace among the first that ran, after a backlog of all functions had formed."""
    before = len(platform.events("begin"))
    blocker = asyncio.create_task(platform.fetch("/team-c/blocker/sleep?ms=1500"))
    await platform.until(lambda: len(platform.events("begin")) > before, "the blocker runs")
    of_namespace: dict[str, list[str]] = {}
    for key in functions:
        of_namespace.setdefault(key.partition("/")[0], []).append(key)
    calls = [
        asyncio.create_task(platform.fetch(f"/{keys[number % len(keys)]}/sleep?ms={RUN_MS}&id={namespace}"))
        for number in range(EACH)
        for namespace, keys in of_namespace.items()
    ]

    async def queued() -> bool:
        return await platform.metric("stoker_requests_queued") == len(calls)

    await platform.until(queued, "all of them queue")
    answers = await asyncio.gather(blocker, *calls)
    assert {answer.status for answer in answers} == {200}
    return Counter(event[4] for event in platform.events("begin")[before + 1 :][:JUDGED])


async def test_namespaces_share_a_gpu_three_to_one_whatever_functions_they_have(platform: Platform) -> None:
    one, split = ["team-a/f", "team-b/f"], ["team-a/f", "team-b/f", "team-b/g", "team-b/h"]
    every = [*split, "team-c/blocker"]
    platform.apply(*(in_namespace(*key.split("/")) for key in every), file="functions.yaml")
    weigh(platform, "mqfq", team_a=3, team_b=1)
    await platform.start(gpus="1xA100-40GB")
    for key in every:
        await until_warm(platform, key)
        await asyncio.gather(*(platform.fetch(f"/{key}/sleep?ms={RUN_MS}") for _ in range(3)))
    for functions in (one, split):
        served = await served_first(platform, *functions)
        assert JUDGED * 0.6 <= served["team-a"] <= JUDGED * 0.9, served
    # The other way round, live, by way of a policy that keeps no shares.
    for queueing in ("fcfs", "mqfq"):
        weigh(platform, queueing, team_a=1, team_b=3)

        async def in_force(name: str = queueing) -> bool:
            return bool((await platform.state())["queueing"] == name)

        await platform.until(in_force, f"{queueing} is in force")
    served = await served_first(platform, *split)
    assert JUDGED * 0.6 <= served["team-b"] <= JUDGED * 0.9, served
