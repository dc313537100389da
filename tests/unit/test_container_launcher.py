"""The pure parts of the container launcher: command lines, ends, listening, ownership, choice and its warnings."""

import asyncio
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from planning_world import cores, gpus, make_function, status_of
from reconciler_fakes import FakeAgent, FakeLauncher, Sink, clock_us

from stoker.control.planning import Drain, Start
from stoker.model.container import Artifact, Mount, Volume, VolumeKind
from stoker.model.device import Device, DeviceKind
from stoker.model.function import ContainerSpec, CpuVariant, EnvVar, Function, Probe, Variant
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason
from stoker_cli.containers.container_command import Dialect, create_argv, folder_archive
from stoker_cli.containers.container_exit import exit_info
from stoker_cli.containers.engine import ContainerState
from stoker_cli.containers.gated_agent import GatedAgent
from stoker_cli.containers.keeper_link import Answer
from stoker_cli.containers.launcher import StartNote
from stoker_cli.containers.listening import Listening, listening
from stoker_cli.containers.ownership import ownership
from stoker_cli.launching import CannotRun, LauncherName, adapted, as_process
from stoker_cli.processes.replica_command import LaunchGivenUp
from stoker_cli.replica_life import ReplicaLives

pytestmark = pytest.mark.unit

REAL = [Device(id=f"GPU-{n}", kind=DeviceKind.GPU, product="H100", memory_mib=1000) for n in "ab"]


def argv_of(devices: Sequence[Device] = (), dialect: Dialect = Dialect.PODMAN, **fields: object) -> list[str]:
    container = ContainerSpec(image="app:1", **fields)  # type: ignore[arg-type]
    return create_argv(
        status_of().spec,
        make_function(container=container),
        devices or gpus(),
        image="app:1",
        name="n",
        labels={"l": "v"},
        dialect=dialect,
    )


def environment(argv: list[str]) -> dict[str, str]:
    return dict(argv[i + 1].split("=", 1) for i, word in enumerate(argv) if word == "--env")


def test_an_image_alone_is_run_as_it_is_on_a_port_that_the_engine_chooses() -> None:
    argv = argv_of()
    assert argv[-2:] == ["--", "app:1"]
    assert argv[argv.index("--publish") + 1] == "127.0.0.1::8080/tcp"
    assert not {"--entrypoint", "--user", "--privileged", "--network", "--workdir"} & set(argv)
    assert {"--pull=never", "--security-opt=no-new-privileges", "--cap-drop=NET_RAW"} <= set(argv)


def test_a_command_replaces_the_entry_point_and_variables_in_it_are_expanded() -> None:
    argv = argv_of(command=("serve", "--port=$(PORT)"), args=("$$(X)",), port=9000)
    assert argv[argv.index("--entrypoint") + 1] == "serve"
    assert argv[argv.index("--") :] == ["--", "app:1", "--port=9000", "$(X)"]


def test_what_looks_like_an_option_is_no_option() -> None:
    argv = argv_of(args=("--privileged",))
    assert argv.index("--privileged") > argv.index("--")


@pytest.mark.parametrize(
    ("dialect", "want"),
    [
        (Dialect.PODMAN, ["--device", "nvidia.com/gpu=GPU-a", "--device", "nvidia.com/gpu=GPU-b"]),
        (Dialect.DOCKER, ["--gpus", '"device=GPU-a,GPU-b"']),
    ],
)
def test_a_replica_gets_its_gpus_and_no_others(dialect: Dialect, want: list[str]) -> None:
    argv = argv_of(REAL, dialect)
    assert want in [argv[i : i + len(want)] for i in range(len(argv))]
    env = environment(argv)
    assert env["NVIDIA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert "CUDA_VISIBLE_DEVICES" not in env


@pytest.mark.parametrize("devices", [gpus(), [cores()]], ids=["simulated", "cores"])
def test_without_a_real_gpu_none_is_given_and_none_is_seen(devices: list[Device]) -> None:
    argv = argv_of(devices, env=(EnvVar(name="NVIDIA_VISIBLE_DEVICES", value="all"),))
    assert not {"--device", "--gpus"} & set(argv)
    assert environment(argv)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert environment(argv)["CUDA_VISIBLE_DEVICES"] == ""


def test_limits_shares_user_and_low_ports_are_handed_over() -> None:
    argv = argv_of(memory_mib=512, cpu_millis=1500, shm_mib=1024, run_as_user=1000, port=80)
    assert {"--memory=512m", "--memory-swap=512m", "--cpu-shares=1536", "--shm-size=1024m"} <= set(argv)
    assert argv[argv.index("--user") + 1] == "1000"
    assert argv[argv.index("--sysctl") + 1] == "net.ipv4.ip_unprivileged_port_start=80"


def test_empty_folders_are_anonymous_volumes_and_other_volumes_are_not_mounted() -> None:
    volumes = (
        Volume(name="v", kind=VolumeKind.EMPTY_DIR),
        Volume(name="s", kind=VolumeKind.SECRET, source="s"),
    )
    argv = argv_of(volumes=volumes, mounts=(Mount(volume="v", path='/a,"b/'), Mount(volume="s", path="/s")))
    mounts = [argv[i + 1] for i, word in enumerate(argv) if word == "--mount"]
    assert mounts == [
        "type=volume,destination=/stoker/home",
        "type=volume,destination=/tmp",
        'type=volume,"destination=/a,""b"',
    ]
    with tarfile.open(fileobj=io.BytesIO(folder_archive(["/tmp", "/a b/"]))) as archive:
        assert [(entry.name, entry.mode, entry.isdir()) for entry in archive] == [
            ("tmp", 0o1777, True),
            ("a b", 0o1777, True),
        ]


def state(**fields: object) -> ContainerState:
    base = ContainerState(status="exited", pid=0, exit_code=0, out_of_memory=False, error="", port=None)
    return replace(base, **fields)


@pytest.mark.parametrize(
    ("found", "asked", "want"),
    [
        (state(exit_code=3), False, (3, None, Reason.REPLICA_FAILED, "it ended with exit code 3")),
        (state(exit_code=143), True, (None, 15, Reason.REPLICA_FAILED, "it was ended by SIGTERM")),
        (state(exit_code=137), True, (None, 9, Reason.REPLICA_FAILED, "it was ended by SIGKILL")),
        (state(exit_code=255), False, (255, None, Reason.REPLICA_FAILED, "it ended with exit code 255")),
        (state(exit_code=137, out_of_memory=True), False, (None, 9, Reason.MEMORY_EXCEEDED, "(64 MiB) and was killed")),
        (state(exit_code=1, out_of_memory=True), False, (1, None, Reason.MEMORY_EXCEEDED, "(64 MiB) and was killed")),
        (state(exit_code=137), False, (None, 9, Reason.MEMORY_EXCEEDED, "(64 MiB) and was killed")),
        (state(status="running"), False, (None, 9, Reason.REPLICA_FAILED, "podman lost it")),
        (None, False, (None, 9, Reason.REPLICA_FAILED, "podman lost it")),
    ],
)
def test_an_end_is_told_in_the_words_of_the_process_launcher(
    found: ContainerState | None, asked: bool, want: tuple[object, ...]
) -> None:
    info = exit_info(found, ("bye",), program="podman", dialect=Dialect.PODMAN, memory_mib=64, asked=asked)
    assert (info.code, info.signal, info.reason) == want[:3]
    assert str(want[3]) in info.detail
    assert info.output == ("bye",)


def test_docker_tells_of_memory_itself() -> None:
    info = exit_info(state(exit_code=137), (), program="docker", dialect=Dialect.DOCKER, memory_mib=64, asked=False)
    assert info.reason is Reason.REPLICA_FAILED


@pytest.mark.parametrize(
    ("tables", "want"),
    [
        ({"tcp": ["00000000:1F90 00000000:0000 0A"]}, Listening.YES),
        ({"tcp": [], "tcp6": ["00000000000000000000000000000000:1F90 0:0 0A"]}, Listening.YES),
        ({"tcp": ["0100007F:1F90 00000000:0000 0A"], "tcp6": []}, Listening.LOOPBACK_ONLY),
        ({"tcp": ["00000000:1F91 00000000:0000 0A", "00000000:1F90 00000000:0000 01"]}, Listening.NO),
        ({}, Listening.UNKNOWN),
    ],
)
def test_who_listens_is_read_from_the_containers_network(
    tmp_path: Path, tables: dict[str, list[str]], want: Listening
) -> None:
    folder = tmp_path / "7" / "net"
    folder.mkdir(parents=True)
    for name, lines in tables.items():
        (folder / name).write_text("head\n" + "".join(f" {n}: {line} 0:0\n" for n, line in enumerate(lines)))
    assert listening(7, 8080, tmp_path) is want


def test_a_container_is_an_orphan_exactly_when_the_very_process_that_made_it_is_gone() -> None:
    mine = ownership()
    name = mine.name_of("default/f-0000000001-0")
    assert not mine.orphaned(name)
    pid, start, boot, _ = mine.serve.split("-")
    assert mine.orphaned(f"stoker-{pid}-{int(start) + 1}-{boot}-0000-default.f-0")
    assert mine.orphaned(f"stoker-{pid}-{start}-00000000-0000-default.f-0")
    assert mine.orphaned(f"stoker-4194999-1-{boot}-0000-default.f-0")
    for other in ("stoker", "postgres", "stoker-x-1-00000000-0000-y", f"my-{name}"):
        assert not mine.orphaned(other)


def test_two_launchers_of_one_process_do_not_share_containers() -> None:
    assert ownership().mine != ownership().mine
    assert ownership().comparable == ownership().comparable


@pytest.mark.parametrize(
    ("err", "tail", "want"),
    [
        ("WARN[0000] x\nError: a: b.\n", (), "a: b"),
        ("Error response from daemon: No such image: x:1\n", (), "No such image: x:1"),
        ("", ("out", "Error: unable to start"), "unable to start"),
        ("", (), "it ended with exit code 125 and said nothing"),
    ],
)
def test_what_the_engine_said_is_one_sentence(err: str, tail: tuple[str, ...], want: str) -> None:
    assert Answer(code=125, err=err, tail=tail).sentence == want


BOTH = ContainerSpec(image="i", command=("c",))


@pytest.mark.parametrize(
    ("container", "launcher", "want"),
    [
        (BOTH, LauncherName.AUTO, True),
        (ContainerSpec(image="i"), LauncherName.AUTO, False),
        (BOTH, LauncherName.PROCESS, True),
        (BOTH, LauncherName.PODMAN, False),
        (BOTH, LauncherName.DOCKER, False),
    ],
)
def test_auto_runs_a_command_as_a_process_and_an_image_alone_in_a_container(
    container: ContainerSpec, launcher: LauncherName, want: bool
) -> None:
    assert as_process(make_function(container=container), Variant.GPU, launcher) is want


@pytest.mark.parametrize(
    ("container", "launcher", "path"),
    [
        (ContainerSpec(image="i"), LauncherName.PROCESS, "command"),
        (ContainerSpec(command=("c",)), LauncherName.PODMAN, "image"),
        (ContainerSpec(command=("c",)), LauncherName.AUTO, None),
        (ContainerSpec(image="i"), LauncherName.AUTO, None),
    ],
)
def test_what_the_chosen_launcher_cannot_run_is_refused_with_the_way_out(
    container: ContainerSpec, launcher: LauncherName, path: str | None
) -> None:
    result = adapted(make_function(container=container), launcher)
    if path is None:
        assert not isinstance(result, CannotRun)
        return
    assert isinstance(result, CannotRun)
    assert result.path == ("spec", "container", path)
    assert "--launcher auto" in result.message


def warnings_of(launcher: LauncherName, **fields: object) -> list[str]:
    container = replace(BOTH, **fields)
    result = adapted(make_function(container=container), launcher)
    assert not isinstance(result, CannotRun)
    assert all(warning.endswith(".") for warning in result.warnings)
    return [warning.split(" ")[0].rstrip(":") for warning in result.warnings]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"liveness": Probe()}, "liveness"),
        ({"volumes": (Volume(name="v", kind=VolumeKind.EMPTY_DIR),)}, "volumes"),
        ({"shm_mib": 1}, "shm"),
        ({"run_as_user": 0}, "runAsUser"),
        ({"fs_group": 0}, "fsGroup"),
        ({"image_pull_secrets": ("a",)}, "imagePullSecrets"),
        ({"service_account_name": "a"}, "serviceAccountName"),
        ({"metrics_port": 1}, "metricsPort"),
    ],
)
def test_a_process_is_warned_of_what_only_containers_and_pods_have(fields: dict[str, object], name: str) -> None:
    assert warnings_of(LauncherName.PROCESS, **fields) == [f"spec.container.{name}", "spec.container.image"]
    in_container = name in {"volumes", "shm", "runAsUser"}
    assert warnings_of(LauncherName.PODMAN, **fields) == ([] if in_container else [f"spec.container.{name}"])


def test_the_image_is_called_unused_only_where_a_process_runs() -> None:
    assert warnings_of(LauncherName.AUTO) == ["spec.container.image"]
    assert warnings_of(LauncherName.DOCKER) == []
    variant = CpuVariant(container=ContainerSpec(image="cpu", command=("c",)))
    result = adapted(make_function(container=ContainerSpec(image="i"), cpu_variant=variant), LauncherName.AUTO)
    assert not isinstance(result, CannotRun)
    assert [warning.split(" ")[0] for warning in result.warnings] == ["spec.cpuVariant.image"]


def test_a_container_is_warned_of_what_an_empty_folder_here_cannot_do() -> None:
    volumes = (
        Volume(name="v", kind=VolumeKind.EMPTY_DIR, size_limit_mib=1),
        Volume(name="s", kind=VolumeKind.SECRET, source="x"),
    )
    mounts = (Mount(volume="v", path="/a", read_only=True), Mount(volume="v", path="/b"))
    function = make_function(container=replace(BOTH, volumes=volumes, mounts=mounts))
    artifact = Artifact(kind=VolumeKind.IMAGE, source="w:1", path="/w")
    result = adapted(replace(function, spec=replace(function.spec, artifacts=(artifact,))), LauncherName.PODMAN)
    assert not isinstance(result, CannotRun)
    text = " ".join(result.warnings)
    for words in ("sizeLimit of v", "each mount of v", "folder of v can be written", "s is a secret", "into the image"):
        assert words in text


class Starts:
    def __init__(self) -> None:
        self.note: dict[str, StartNote] = {}
        self.gate = asyncio.Event()

    def notes(self) -> dict[str, StartNote]:
        return self.note

    async def listens(self, replica_id: str) -> None:
        await self.gate.wait()


async def test_a_container_is_probed_only_when_it_listens_and_never_after_it_is_gone() -> None:
    agent, starts = FakeAgent([], gpus(2)), Starts()
    gated = GatedAgent(agent, starts)
    for ordinal in (0, 1):
        spec = status_of(ordinal=ordinal).spec
        gated.reserve(spec, ())
        starts.note[spec.id] = StartNote()
        gated.attach(spec.id, "127.0.0.1", 1, Probe())
    first, second = (status_of(ordinal=n).spec.id for n in (0, 1))
    await asyncio.sleep(0)
    assert f"attach {first}" not in agent.calls
    gated.detach(second)
    starts.gate.set()
    await asyncio.sleep(0.01)
    assert f"attach {first}" in agent.calls
    assert f"attach {second}" not in agent.calls


async def test_a_process_is_probed_at_once() -> None:
    agent = FakeAgent([], gpus())
    gated = GatedAgent(agent, Starts())
    spec = status_of().spec
    gated.reserve(spec, ())
    gated.attach(spec.id, "127.0.0.1", 1, Probe())
    assert f"attach {spec.id}" in agent.calls


def test_a_pull_is_the_reason_of_a_start_and_its_time_is_not_the_programs() -> None:
    agent, starts = FakeAgent([], gpus()), Starts()
    gated = GatedAgent(agent, starts)
    spec = status_of().spec
    gated.reserve(spec, ())
    began_us = agent.replicas()[0].started_us
    starts.note[spec.id] = StartNote(reason=Reason.PULLING_IMAGE, detail="podman pulls x")
    (status,) = gated.replicas()
    assert (status.waiting, status.waiting_detail, status.started_us) == (
        Reason.PULLING_IMAGE,
        "podman pulls x",
        began_us,
    )
    starts.note[spec.id] = StartNote(waited_us=5_000_000)
    (status,) = gated.replicas()
    assert (status.waiting, status.started_us) == (None, began_us + 5_000_000)


class SlowLauncher(FakeLauncher):
    """Pulls until it is told to give up."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__(calls)
        self.given_up = asyncio.Event()

    async def launch(self, replica: ReplicaSpec, function: Function, devices: Sequence[Device]) -> int:
        await self.given_up.wait()
        raise LaunchGivenUp("given up")

    def give_up(self, replica_id: str) -> None:
        self.given_up.set()


async def test_a_replica_that_is_not_wanted_any_more_gives_its_pull_up_and_that_is_no_failure() -> None:
    agent, launcher = FakeAgent([], gpus()), SlowLauncher([])
    lives = ReplicaLives(agent=agent, launcher=launcher, clock_us=clock_us, metrics=Sink(), changed=lambda: None)
    spec = status_of().spec
    assert lives.act(Start(spec=spec, function=make_function(), reservations=()))
    await asyncio.sleep(0.01)
    lives.act(Drain(replica_id=spec.id, reason=Reason.SCALED_DOWN))
    await asyncio.sleep(0.01)
    assert agent.replicas() == ()
    assert lives.failures == []
    assert lives.leaving() == frozenset()
