"""What only containers promise, on real engines: images, folders, users, and nothing left whoever was killed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from launcher_benches import IMAGE, ContainerBench, make_bench, replica, shell, until
from planning_world import make_function
from replica_image import LISTEN

from stoker.model.container import Mount, Volume, VolumeKind
from stoker.model.function import ContainerSpec, Function
from stoker.reasons import Reason
from stoker_cli.processes.replica_command import LaunchFailed

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
    pytest.mark.timeout(90),
    pytest.mark.parametrize("kind", ["podman", "docker"]),
]


@pytest.fixture
async def bench(tmp_path: Path, kind: str) -> AsyncIterator[ContainerBench]:
    made = make_bench(kind, tmp_path)
    assert isinstance(made, ContainerBench)
    yield made
    await made.launcher.stop()
    assert made.left() == []


def listener(script: str = "", **fields: object) -> Function:
    code = f"{script}; {LISTEN}"
    return make_function(container=ContainerSpec(command=("perl", "-MIO::Socket::INET", "-e", code), **fields))  # type: ignore[arg-type]


async def test_the_images_own_entry_point_runs_where_there_is_no_command(bench: ContainerBench) -> None:
    await bench.launcher.start()
    image = f"{IMAGE}-entry"
    bench.engine("create", "--name", f"entry-{os.getpid()}", "--pull=never", IMAGE, "true")
    try:
        change = 'ENTRYPOINT ["sh", "-c", "echo entry $0 $TAG"]'
        bench.engine("commit", "--change", change, f"entry-{os.getpid()}", image)
        container = ContainerSpec(image=image, args=("$(STOKER_FUNCTION)",))
        await bench.run(make_function(container=container))
        assert (await bench.exit_of()).output == ("entry default/f",)
    finally:
        bench.engine("rm", "-f", f"entry-{os.getpid()}")
        bench.engine("rmi", "-f", image)


async def test_an_image_that_cannot_be_pulled_is_said_so_and_was_told_while_it_was_tried(bench: ContainerBench) -> None:
    seen: list[Reason | None] = []
    bench.launcher.on_note = lambda: seen.extend(note.reason for note in bench.launcher.notes().values())
    container = ContainerSpec(image="registry.invalid/stoker/nothing:1")
    with pytest.raises(
        LaunchFailed, match=r"could not pull registry\.invalid/stoker/nothing:1 \(.+\); check"
    ) as failed:
        await bench.run(make_function(container=container))
    assert failed.value.reason is Reason.IMAGE_PULL_FAILED
    assert seen[0] is Reason.PULLING_IMAGE
    assert bench.launcher.notes() == {}


async def test_any_user_may_write_to_home_tmp_and_the_empty_folders(bench: ContainerBench) -> None:
    container = ContainerSpec(
        command=("sh", "-c", "id; touch $HOME/a /tmp/b /data/c,d/e && echo written"),
        run_as_user=12345,
        shm_mib=70,
        volumes=(Volume(name="v", kind=VolumeKind.EMPTY_DIR),),
        mounts=(Mount(volume="v", path="/data/c,d/"),),
    )
    await bench.run(make_function(container=container))
    await bench.exit_of()
    assert "uid=12345" in bench.output()
    assert "written" in bench.output()


async def test_a_replica_listens_only_when_its_program_does(bench: ContainerBench) -> None:
    function = listener("while (!-e '/tmp/go') { select(undef, undef, undef, 0.02) }")
    await bench.run(function)
    listens = asyncio.ensure_future(bench.launcher.listens(replica().id))
    await asyncio.sleep(0.5)
    assert not listens.done()
    bench.engine("exec", bench.left()[0], "touch", "/tmp/go")
    await asyncio.wait_for(listens, bench.ceiling_s)


async def test_a_program_that_listens_on_its_loopback_only_is_told_so(bench: ContainerBench) -> None:
    await bench.run(listener("$ENV{ADDRESS} = '127.0.0.1'"))
    listens = asyncio.ensure_future(bench.launcher.listens(replica().id))
    await bench.until(lambda: "0.0.0.0" in bench.launcher.notes()[replica().id].detail)
    assert not listens.done()
    await bench.launcher.terminate(replica().id, 0)
    await asyncio.wait_for(listens, bench.ceiling_s)


async def test_a_port_below_1024_needs_no_root(bench: ContainerBench) -> None:
    await bench.run(listener(port=80, run_as_user=12345))
    await asyncio.wait_for(bench.launcher.listens(replica().id), bench.ceiling_s)


async def test_when_the_keeper_is_killed_its_containers_end_are_reported_and_later_ones_run(
    bench: ContainerBench,
) -> None:
    await bench.run(shell("exec sleep 600"))
    keeper = bench.launcher._engine._link.pid  # type: ignore[union-attr]
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    info = await bench.exit_of()
    assert "lost it" in info.detail
    assert bench.left() == []
    bench.exits.clear()
    await bench.run(shell("echo again"))
    assert (await bench.exit_of()).output == ("again",)


async def test_a_container_that_another_hand_removes_is_reported(bench: ContainerBench) -> None:
    await bench.run(shell("exec sleep 600"))
    bench.engine("rm", "-f", "-v", *bench.left())
    assert (await bench.exit_of()).signal == signal.SIGKILL


HARNESS = """
import asyncio, pathlib, sys
from launcher_benches import ContainerBench, shell
async def main():
    bench = ContainerBench(pathlib.Path(sys.argv[2]), sys.argv[1])
    await bench.run(shell("exec sleep 600", image=sys.argv[3]))
    keeper = bench.launcher._engine._link.pid
    print(bench.launcher._owner.mine, keeper, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def other_serve(bench: ContainerBench, kind: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, int]]:
    """Another process with one replica: its handle, the filter of its containers, and its keeper."""
    support = str(Path(__file__).parent.parent / "support")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HARNESS,
        kind,
        str(bench.folder),
        IMAGE,
        env={**bench.environ, "PYTHONPATH": support},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        lines = [line async for line in _until_keeper(process.stdout)]
        mine, keeper = lines[-1].split()
        yield process, mine, int(keeper)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until_keeper(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    while line := (await stream.readline()).decode():
        yield line
        if line.startswith("label="):
            return


async def test_when_stoker_is_killed_its_containers_go_too(bench: ContainerBench, kind: str) -> None:
    async with other_serve(bench, kind) as (process, mine, _):
        assert bench.engine("ps", "-q", "--filter", mine)
        process.kill()
        await process.wait()
        await until(lambda: not bench.engine("ps", "-aq", "--filter", mine), bench.ceiling_s)


async def test_what_a_killed_stoker_and_keeper_left_the_next_start_removes_and_nobody_elses(
    bench: ContainerBench, kind: str
) -> None:
    async with other_serve(bench, kind) as (process, mine, keeper):
        await bench.launcher.start()
        assert bench.engine("ps", "-q", "--filter", mine), "a live serve's container was taken for an orphan"
        os.kill(keeper, signal.SIGKILL)
        process.kill()
        await process.wait()
        await asyncio.sleep(0.3)
        assert bench.engine("ps", "-q", "--filter", mine)
        other = ContainerBench(bench.folder, kind)
        await other.launcher.start()
        assert not bench.engine("ps", "-aq", "--filter", mine)
        await other.launcher.stop()
