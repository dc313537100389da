"""The event log of a platform in trouble, replayed: the core decides the same again, every single time."""

import asyncio
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from platform_under_test import STOKER, Platform, function

from stoker.replay.lines import records_of
from stoker.replay.records import Exchanged, Weighted
from stoker.replay.replayer import Replayed, replay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

KINDS = {
    "pop",
    "judge",
    "estimate",
    "ahead",
    "expire",
    "cancel",
    "exchange",
    "schedule",
    "arrive",
    "choose",
    "room",
    "plan",
}
POLICIES = ("mqfq", "edf", "lazy-slack", "mqfq-sticky", "sjf")


def apply_policy(platform: Platform, name: str) -> None:
    policy = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}
    weights = [{"name": "default", "weight": 3}]
    platform.apply({**policy, "spec": {"queueing": name, "namespaces": weights}}, file="policy.yaml")


def read(path: Path) -> Replayed:
    with path.open("rb") as lines:
        found = replay(lines)
    assert found.difference is None, found.difference
    return found


async def storm(platform: Platform, requests: int, seconds: float) -> None:
    """Requests of three functions, some of clients that leave, at random times."""
    chance = random.Random(11)

    async def client() -> None:
        await asyncio.sleep(chance.random() * seconds)
        name = chance.choice(("steady", "steady", "shared", "cold", "narrow"))
        path = f"/sleep?ms={chance.choice((5, 20, 60))}"
        reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
        deadline = chance.choice(("", "", "Stoker-Deadline-Ms: 150\r\n"))
        writer.write(f"GET /default/{name}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{deadline}\r\n".encode())
        try:
            async with asyncio.timeout(chance.choice((0.05, 20, 20, 20))):
                await reader.read()
        except TimeoutError:
            pass
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(requests)))


async def test_every_decision_of_a_storm_with_exchanges_of_policies_is_made_again(platform: Platform) -> None:
    one: dict[str, Any] = {"slo": {"latency": "300ms"}, "timeout": "2s"}
    shared = {"memory": "4Gi", "sharing": "Shared"}
    platform.apply(function("steady", scaling={"minReplicas": 1, "maxReplicas": 2, "concurrency": 2}, **one))
    platform.apply(function("shared", gpu=shared, scaling={"minReplicas": 1, "maxReplicas": 1}, **one))
    platform.apply(function("cold", gpu=shared, cpuVariant={}, env={"START_S": "0.3"}, **one))
    platform.apply(function("narrow", gpu=shared, queue={"maxRequests": 2}, scaling={"maxReplicas": 1}, **one))
    log = platform.folder / "decisions.log"
    await platform.start("--event-log", str(log), gpus="2xA100-40GB")
    await platform.until_warm("steady")
    going = asyncio.create_task(storm(platform, 500, 5))
    for name in POLICIES:
        await asyncio.sleep(0.5)
        apply_policy(platform, name)

        async def in_force(name: str = name) -> bool:
            return bool((await platform.state())["queueing"] == name)

        await platform.until(in_force, f"{name} in force", 30)
    await going
    assert await platform.stop() == 0
    assert '"level":"error"' not in platform.output.read_text()
    found = read(log)
    assert found.closed == ""
    assert found.compared.keys() >= KINDS, found.compared
    assert found.ended >= 500
    with log.open("rb") as lines:
        records = [record for _, record in records_of(lines)]
    assert [record.name for record in records if isinstance(record, Exchanged)] == list(POLICIES)
    assert [record.namespaces for record in records if isinstance(record, Weighted)][-1] == {"default": 3}


async def test_a_log_of_many_files_that_ends_by_a_kill_replays_file_by_file(platform: Platform) -> None:
    platform.apply(function("f", scaling={"minReplicas": 1, "concurrency": 4}))
    log = platform.folder / "decisions.log"
    log.write_bytes(b"")
    await platform.start("--event-log", str(log), env={"STOKER_EVENT_LOG_MIB": "1", "STOKER_EVENT_LOG_FILES": "2"})
    await platform.until_warm("f")

    async def two_files() -> bool:
        await asyncio.gather(*(platform.call("f") for _ in range(200)))
        return (platform.folder / "decisions.log.1").exists()

    await platform.until(two_files, "the second file", 60)
    await platform.call("f")
    assert platform.process is not None
    platform.process.kill()
    await platform.process.wait()
    newest, older = read(log), read(platform.folder / "decisions.log.1")
    assert (newest.header.part, newest.closed, older.closed) == (older.header.part + 1, None, None)
    assert older.compared["pop"] > 0


def test_a_file_that_is_no_log_is_not_overwritten(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    (tmp_path / "functions").mkdir()
    done = subprocess.run(
        [str(STOKER), "serve", str(tmp_path / "functions"), "--gpus", "none", "--port", "0", "--event-log", str(notes)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, notes.read_text()) == (2, "mine")
    assert done.stderr == f"stoker: The file {notes} exists and is no event log; name another file.\n"
