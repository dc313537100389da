"""A GpuPolicy in a file, changed while requests come: it acts at once, no request is lost, and none runs twice."""

import asyncio
from collections import Counter
from itertools import count
from typing import Any

import pytest
from platform_under_test import Answer, Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

POLICY = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}


def write(platform: Platform, **spec: Any) -> None:
    platform.apply({**POLICY, "spec": spec}, file="policy.yaml")


async def until_acts(platform: Platform, **wanted: str) -> None:
    """Until the policy that was written shows in the state of the platform."""

    async def shows() -> bool:
        state = await platform.state()
        acts = {**state["policy"], "queueing": state["queueing"]}
        return all(acts[name] == value for name, value in wanted.items())

    await platform.until(shows, f"{wanted} acts")


class Load:
    """Clients that call one function after another, each request with an id of its own."""

    def __init__(self, platform: Platform, *functions: str) -> None:
        self._platform = platform
        self._ids = count()
        self._going = True
        self.sent: set[str] = set()
        self.answers: list[tuple[str, Answer]] = []
        self._clients = [asyncio.create_task(self._call(functions[n % len(functions)])) for n in range(8)]

    async def _call(self, name: str) -> None:
        while self._going:
            identity = f"r{next(self._ids)}"
            self.sent.add(identity)
            self.answers.append((identity, await self._platform.call(name, f"/sleep?ms=10&id={identity}")))

    async def more(self, wanted: int = 40) -> list[Answer]:
        """The answers to requests that were sent from now on."""
        known = set(self.sent)
        while len(fresh := [answer for identity, answer in self.answers if identity not in known]) < wanted:
            assert not any(client.done() for client in self._clients)
            await asyncio.sleep(0.02)
        return fresh

    async def end(self) -> None:
        self._going = False
        await asyncio.gather(*self._clients)


async def test_profiles_are_switched_under_load_without_a_lost_request(platform: Platform) -> None:
    # An objective that nothing here is predicted to miss, also before the first run was measured.
    alike: dict[str, Any] = {
        "gpu": {"memory": "4Gi", "sharing": "Shared"},
        "slo": {"latency": "60s"},
        "timeout": "90s",
        "scaling": {"minReplicas": 1, "maxReplicas": 1},
    }
    both = function("both", cpuVariant={"resources": {"cpu": "100m"}}, **alike)
    plain = function("plain", **alike)
    platform.apply(both, plain, file="functions.yaml")
    write(platform, profile="LatencyFirst", deviceChoice="gpu-only")
    log = platform.folder / "decisions.jsonl"
    await platform.start("--event-log", str(log), gpus="1xA100-40GB")
    await asyncio.gather(platform.until_warm("both"), platform.until_warm("plain"))
    await until_acts(platform, profile="LatencyFirst", queueing="least-slack", admission="schedule-based")
    load = Load(platform, "both", "plain")
    await load.more()

    write(platform, profile="FairShare", deviceChoice="gpu-only", namespaces=[{"name": "default", "weight": 3}])
    await until_acts(platform, profile="FairShare", queueing="mqfq-sticky", allocation="fair", deviceChoice="gpu-only")
    await load.more()
    assert await platform.metric("stoker_requests_diverted_total", reason="Chosen") == 0

    write(platform, profile="Throughput")
    throughput = {"queueing": "batch", "admission": "utilisation-threshold", "deviceChoice": "speed-up"}
    await until_acts(platform, profile="Throughput", **throughput)

    # Both variants take the same time: once the CPU variant is warm and measured all its requests go there.
    async def on_cpu() -> bool:
        headers = [answer.headers for answer in await load.more(16)]
        chosen = [one for one in headers if (one["stoker-device"], one["stoker-device-reason"]) == ("cpu", "Chosen")]
        return len(chosen) >= 4

    await platform.until(on_cpu, "the CPU variant serves", 20)
    assert await platform.metric("stoker_requests_diverted_total", function="both", reason="Chosen") >= 4

    write(platform, profile="Throughput", deviceChoice="gpu-only", admission={"policy": "none", "mode": "Observe"})
    await until_acts(platform, deviceChoice="gpu-only", admission="none", admissionMode="Observe")
    assert "cpu" not in {answer.headers["stoker-device"] for answer in await load.more()}

    # A bad file is told in one sentence, and what acted goes on.
    write(platform, profile="Fastest")
    await platform.until(
        lambda: "'Fastest' is not one of LatencyFirst, FairShare, Throughput" in platform.output.read_text(),
        "it says so",
    )
    await until_acts(platform, deviceChoice="gpu-only", admissionMode="Observe")
    await load.more(8)

    (platform.functions / "policy.yaml").unlink()
    await until_acts(platform, profile="LatencyFirst", queueing="least-slack", admissionMode="Enforce")
    await load.more(8)
    await load.end()
    assert len(load.answers) == len(load.sent)
    assert Counter(answer.status for _, answer in load.answers) == {200: len(load.sent)}
    ran = Counter(event[4] for event in platform.events("begin"))
    assert ran == dict.fromkeys(load.sent, 1)
    # Every decision of all these policies is made again from the log.
    assert await platform.stop() == 0
    code, said, problem = await platform.cli("sim", "replay", str(log))
    assert code == 0, said + problem
    assert "course" in said


async def test_the_policy_s_queueing_counts_and_the_command_line_s_where_there_is_none(platform: Platform) -> None:
    platform.apply(function("f"))
    await platform.start("--queueing", "fcfs")
    await until_acts(platform, queueing="fcfs", profile="LatencyFirst")
    write(platform, profile="FairShare")
    await until_acts(platform, queueing="mqfq-sticky")
    said = "--queueing fcfs does not act while this GpuPolicy is applied: it says mqfq-sticky"
    await platform.until(lambda: said in platform.output.read_text(), "it says so")
    (platform.functions / "policy.yaml").unlink()
    await until_acts(platform, queueing="fcfs")


async def test_a_priority_above_the_bound_of_its_namespace_is_refused_at_load(platform: Platform) -> None:
    platform.apply(function("low", priority="Batch"), function("high", priority="Critical"), file="functions.yaml")
    write(platform, namespaces=[{"name": "default", "maxPriority": "Standard"}])
    await platform.start()
    assert "Critical is above Standard, the highest that the GpuPolicy allows" in platform.output.read_text()
    assert set((await platform.state())["functions"]) == {"default/low"}
    write(platform, namespaces=[{"name": "default", "maxPriority": "Critical"}])

    async def there() -> bool:
        return "default/high" in (await platform.state())["functions"]

    await platform.until(there, "a raised bound lets it in")
