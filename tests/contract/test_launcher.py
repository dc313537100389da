"""Every launcher against one contract (output, ends of every kind, nothing left), and what only processes promise."""

import asyncio
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from launcher_benches import Bench, make_bench, replica, shell, until
from msgspec.structs import replace
from planning_world import cores, gpus, make_function
from replica_image import LISTEN

from stoker.model.device import Device, DeviceKind
from stoker.model.function import ContainerSpec, EnvVar
from stoker.reasons import Reason
from stoker_cli.processes.launcher import ProcessLauncher
from stoker_cli.processes.replica_command import LaunchFailed, argv_of

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper"),
    pytest.mark.timeout(90),
]

SLEEP = "exec sleep 600"
EVERY = pytest.mark.parametrize("kind", ["process", "podman", "docker"])


def alive(pid: int) -> bool:
    try:
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False


@pytest.fixture
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    kind = request.node.callspec.params.get("kind", "process") if hasattr(request.node, "callspec") else "process"
    made = make_bench(kind, tmp_path)
    await made.launcher.start()
    yield made
    await made.launcher.stop()
    assert made.left() == []


@EVERY
async def test_output_and_exit_code_are_reported_and_the_output_is_in_a_file(bench: Bench, kind: str) -> None:
    await bench.run(shell("echo out; echo err >&2; printf unfinished; exit 3"))
    info = await bench.exit_of()
    assert (info.code, info.signal, info.reason) == (3, None, Reason.REPLICA_FAILED)
    assert info.detail == "it ended with exit code 3"
    if kind == "process":
        assert info.output == ("out", "err", "unfinished")
    # An engine has two pipes: what goes to one does not wait for what went to the other.
    assert sorted(bench.output()) == sorted("out\nerr\nunfinished")
    assert "\n".join(info.output) == bench.output().removesuffix("\n")


@EVERY
async def test_much_output_is_read_to_its_end_and_the_last_lines_are_kept(bench: Bench, kind: str) -> None:
    await bench.run(shell("seq 1 200000"))
    info = await bench.exit_of()
    assert info.output == tuple(str(n) for n in range(199_981, 200_001))
    assert bench.output().startswith("1\n2\n")


async def test_the_environment_is_what_the_plan_says_and_nothing_of_ours(bench: Bench) -> None:
    function = shell("env > env.txt; pwd >> env.txt; ls -d $HOME >> env.txt", env=(EnvVar(name="TAG", value="a b"),))
    port = await bench.run(function)
    await bench.exit_of()
    lines = bench.read("env.txt").splitlines()
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    assert env["PORT"] == str(port)
    assert env["STOKER_FUNCTION"] == "default/f"
    assert env["STOKER_REPLICA"] == replica().id
    assert env["STOKER_VARIANT"] == "gpu"
    assert env["STOKER_DEVICE"] == "A100-40GB/sim-0 (simulated)"
    assert env["STOKER_DEVICE_SIMULATED"] == "1"
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert (env["TAG"], env["TZ"]) == ("a b", "UTC")
    assert "SECRET" not in env
    assert lines[-2] == str(bench.folder)
    assert lines[-1] == env["HOME"]
    await until(lambda: not Path(env["HOME"]).exists())


async def test_real_gpus_are_named_by_their_uuids_and_cores_see_none(bench: Bench) -> None:
    gpu = Device(id="GPU-1234", kind=DeviceKind.GPU, product="H100", memory_mib=1000)
    await bench.run(shell('echo "$CUDA_VISIBLE_DEVICES $STOKER_DEVICE_SIMULATED"'), devices=[gpu])
    assert (await bench.exit_of()).output == ("GPU-1234 ",)
    await bench.run(shell('echo "$CUDA_VISIBLE_DEVICES:$STOKER_DEVICE"'), 1, devices=[cores()])
    assert (await bench.exit_of(1)).output == (":cpu",)


@EVERY
async def test_terminate_lets_a_replica_end_within_its_grace(bench: Bench, kind: str) -> None:
    await bench.run(shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"))
    await bench.until(lambda: bench.output() == "up\n")
    await bench.launcher.terminate(replica().id, 5_000_000)
    info = await bench.exit_of()
    assert (info.code, info.output[0], info.output[-1]) == (0, "up", "bye")


@EVERY
async def test_a_replica_that_ignores_sigterm_is_killed_after_its_grace(bench: Bench, kind: str) -> None:
    await bench.run(shell("trap '' TERM INT HUP; echo up; while :; do sleep 0.02; done"))
    await bench.until(lambda: bench.output() == "up\n")
    await bench.launcher.terminate(replica().id, 200_000)
    info = await bench.exit_of()
    assert (info.signal, info.detail) == (signal.SIGKILL, "it was ended by SIGKILL")


@EVERY
async def test_terminate_of_an_unknown_or_ended_replica_returns(bench: Bench, kind: str) -> None:
    await bench.launcher.terminate("default/nobody-0000000001-0", 0)
    await bench.run(shell("exit 0"))
    await bench.exit_of()
    await bench.launcher.terminate(replica().id, 1_000_000)


async def test_signals_act_in_a_replica_as_in_any_process(bench: Bench) -> None:
    await bench.run(shell("kill -INT $$; sleep 5"))
    assert (await bench.exit_of()).signal == signal.SIGINT


FAMILY = """
(sleep 600) & echo $! >> pids
setsid sh -c 'echo $$ >> pids; exec sleep 600' &
setsid sh -c '(setsid sh -c "echo \\$\\$ >> pids; exec sleep 600" &) ; exit 0' &
env -i setsid sh -c 'echo $$ >> pids; exec /bin/sleep 600' &
echo $$ >> pids
"""


@pytest.mark.parametrize("end", ["terminate", "leader exits", "stop"])
async def test_grandchildren_and_those_that_left_the_session_end_with_the_replica(bench: Bench, end: str) -> None:
    tail = "while [ $(wc -l < pids) -lt 5 ]; do sleep 0.02; done; exit 1" if end == "leader exits" else "wait"
    await bench.run(shell(FAMILY + tail))
    await until(lambda: len(bench.read("pids").split()) == 5)
    pids = [int(pid) for pid in bench.read("pids").split()]
    if end == "terminate":
        await bench.launcher.terminate(replica().id, 1_000_000)
    elif end == "stop":
        await bench.launcher.stop()
    else:
        await bench.exit_of()
    await until(lambda: not any(alive(pid) for pid in pids))


async def test_ending_one_replica_leaves_the_others_alone(bench: Bench) -> None:
    await bench.run(shell("echo $$ > one; " + SLEEP), 0)
    await bench.run(shell("(setsid sleep 600 & echo $! > two); sleep 600"), 1)
    await until(lambda: bench.read("one") and bench.read("two"))
    await bench.launcher.terminate(replica(0).id, 1_000_000)
    assert not alive(int(bench.read("one")))
    assert alive(int(bench.read("two")))
    assert replica(1).id not in bench.exits


@EVERY
async def test_memory_over_the_limit_ends_the_replica_with_that_reason(bench: Bench, kind: str) -> None:
    await bench.run(shell("exec perl -e 'my $keep = q{x} x (120 * 2**20); sleep 600'", memory_mib=64))
    info = await bench.exit_of()
    assert (info.reason, info.signal) == (Reason.MEMORY_EXCEEDED, signal.SIGKILL)
    assert "64 MiB" in info.detail


async def test_children_count_for_the_memory_limit(bench: Bench) -> None:
    code = "import time; keep = bytearray(120 * 2**20); time.sleep(600)"
    await bench.run(shell(f'{sys.executable} -S -c "{code}"; exit 0', memory_mib=64))
    assert (await bench.exit_of()).reason is Reason.MEMORY_EXCEEDED


async def test_replicas_are_niced_so_that_the_gateway_keeps_a_core_share(bench: Bench) -> None:
    await bench.run(shell("nice"))
    assert int((await bench.exit_of()).output[0]) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)


@pytest.mark.parametrize(
    ("command", "want"),
    [
        ((), "it has no container.command"),
        (("no-such-program",), "there is no executable 'no-such-program' on PATH"),
        (("./missing.sh",), "there is no executable './missing.sh' in "),
    ],
)
async def test_what_cannot_be_started_is_one_sentence_and_leaves_nothing(
    bench: Bench, command: tuple[str, ...], want: str
) -> None:
    with pytest.raises(LaunchFailed, match=want.replace(".", r"\.")):
        await bench.run(make_function(container=ContainerSpec(command=command)))
    await bench.run(shell("exit 0"))  # the id is free again
    await bench.exit_of()


async def test_a_file_that_is_no_program_says_what_the_system_said(bench: Bench) -> None:
    program = bench.folder / "bad"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    with pytest.raises(LaunchFailed, match="could not be started"):
        await bench.run(make_function(container=ContainerSpec(command=("./bad",))))


async def test_a_working_directory_that_is_gone_is_named(bench: Bench) -> None:
    function = replace(shell("exit 0"), work_dir="/nonexistent/folder")
    with pytest.raises(LaunchFailed, match="/nonexistent/folder does not exist"):
        await bench.launcher.launch(replica(), function, gpus())


@EVERY
async def test_ports_differ_and_an_id_is_not_started_twice(bench: Bench, kind: str) -> None:
    ports = {await bench.run(shell(SLEEP), ordinal) for ordinal in range(3)}
    assert len(ports) == 3
    with pytest.raises(LaunchFailed, match="still runs"):
        await bench.run(shell(SLEEP), 0)


@EVERY
async def test_the_port_leads_to_the_program(bench: Bench, kind: str) -> None:
    port = await bench.run(make_function(container=ContainerSpec(command=("perl", "-MIO::Socket::INET", "-e", LISTEN))))
    await bench.until(lambda: bench.output() == "up\n")

    def ask() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bytes(answer.read())

    assert await asyncio.to_thread(ask) == b"yes"


@EVERY
async def test_the_environment_says_who_it_is_and_nothing_of_ours(bench: Bench, kind: str) -> None:
    script = 'echo x > $HOME/mine && echo home; echo "$PORT $STOKER_FUNCTION $STOKER_REPLICA $TAG"; env'
    await bench.run(shell(script, env=(EnvVar(name="TAG", value="a b"),)), devices=[cores()])
    await bench.exit_of()
    first, second, *lines = bench.output().splitlines()
    assert first == "home"
    assert second.split(" ", 1)[1] == f"default/f {replica().id} a b"
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert env["STOKER_DEVICE"] == "cpu"
    assert not {"SECRET", "HTTP_PROXY", "http_proxy"} & set(env)


@EVERY
async def test_what_cannot_be_executed_is_one_sentence_and_the_id_is_free_again(bench: Bench, kind: str) -> None:
    with pytest.raises(LaunchFailed, match="no-such-program"):
        await bench.run(make_function(container=ContainerSpec(command=("/no-such-program",))))
    assert bench.exits == {}
    await bench.run(shell("exit 0"))
    assert (await bench.exit_of()).code == 0


@EVERY
async def test_stop_ends_and_reports_all_replicas_and_refuses_later_launches(bench: Bench, kind: str) -> None:
    for ordinal in range(2):
        await bench.run(shell(SLEEP), ordinal)
    await bench.launcher.stop()
    assert bench.left() == []
    assert len(bench.exits) == 2
    with pytest.raises(LaunchFailed, match="stopped"):
        await bench.run(shell(SLEEP), 5)
    await bench.launcher.stop()


async def test_when_the_spawner_dies_its_replicas_die_are_reported_and_a_new_one_serves(bench: Bench) -> None:
    await bench.run(shell("(setsid sleep 600 & echo $! >> pids); echo $$ >> pids; sleep 600"))
    await until(lambda: len(bench.read("pids").split()) == 2)
    assert isinstance(bench.launcher, ProcessLauncher)
    spawner = bench.launcher._spawner
    assert spawner is not None
    spawner.kill()
    info = await bench.exit_of()
    assert "spawner" in info.detail
    await until(lambda: not any(alive(int(pid)) for pid in bench.read("pids").split()))
    bench.exits.clear()
    await bench.run(shell("echo again"))
    assert (await bench.exit_of()).output == ("again",)


HARNESS = """
import asyncio, pathlib, sys
from planning_world import gpus, make_function, status_of
from msgspec.structs import replace
from stoker.model.function import ContainerSpec
from stoker_cli.processes.launcher import ProcessLauncher

async def main():
    folder = sys.argv[1]
    launcher = ProcessLauncher(pathlib.Path(folder) / "logs")
    ended = ContainerSpec(command=("sh", "-c", "echo $HOME > ended; exit 0"))
    launcher._forget = lambda running: None  # as if it is killed before it removes the home of what has ended
    await launcher.launch(status_of(ordinal=1).spec, replace(make_function(container=ended), work_dir=folder), gpus())
    script = "echo $HOME > home; (setsid sleep 600 & echo $! >> pids); echo $$ >> pids; sleep 600"
    function = replace(make_function(container=ContainerSpec(command=("sh", "-c", script))), work_dir=folder)
    await launcher.launch(status_of().spec, function, gpus())
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_when_stoker_is_killed_its_replicas_and_the_spawner_go_too(tmp_path: Path) -> None:
    support = Path(__file__).parent.parent / "support"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HARNESS, str(tmp_path), env={**os.environ, "PYTHONPATH": str(support)}
    )
    pids = tmp_path / "pids"
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    everything = [int(pid) for pid in (*pids.read_text().split(), *children)]
    assert len(everything) >= 3
    process.kill()
    await process.wait()
    await until(lambda: not any(alive(pid) for pid in everything))
    homes = [Path((tmp_path / name).read_text().strip()) for name in ("home", "ended")]
    await until(lambda: not any(home.exists() for home in homes))


async def test_stop_ends_all_replicas_and_refuses_later_launches(tmp_path: Path) -> None:
    bench = make_bench("process", tmp_path)
    for ordinal in range(3):
        await bench.run(shell("echo $$ >> pids; " + SLEEP), ordinal)
    await until(lambda: len(bench.read("pids").split()) == 3)
    await bench.launcher.stop()
    assert not any(alive(int(pid)) for pid in bench.read("pids").split())
    assert len(bench.exits) == 3
    with pytest.raises(LaunchFailed, match="stopped"):
        await bench.run(shell(SLEEP), 5)
    await bench.launcher.stop()


def test_python_means_the_active_environment_else_the_one_that_runs_stoker(monkeypatch: pytest.MonkeyPatch) -> None:
    function = make_function(container=ContainerSpec(command=("python", "x.py"), args=("-v",)))
    monkeypatch.setattr(sys, "prefix", "/somewhere/.venv")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    assert argv_of(replica(), function, {"PATH": "/nowhere"}, "/") == [sys.executable, "x.py", "-v"]
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert argv_of(replica(), function, {"PATH": "/nowhere"}, "/")[0] == sys.executable
    function = make_function(container=ContainerSpec(command=("sh",)))
    assert argv_of(replica(), function, {"PATH": "/bin:/usr/bin"}, "/")[0].endswith("/sh")


def test_variables_in_the_command_are_expanded_as_on_kubernetes() -> None:
    function = make_function(container=ContainerSpec(command=("sh", "-c", "$(PORT) $$(PORT) $PORT $(UNKNOWN) $$")))
    argv = argv_of(replica(), function, {"PATH": "/bin:/usr/bin", "PORT": "8123"}, "/")
    assert argv[2] == "8123 $(PORT) $PORT $(UNKNOWN) $$"
