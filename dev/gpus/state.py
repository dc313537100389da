"""The state file of one node's simulated GPUs: its values, its text, and how it is changed.

One line is `key value`; the node's lines come first, then one block for each GPU that begins with `gpu UUID`, and
`end` last, so that half a file is no file. nvml.c reads the same text and skips the keys that it does not know.
Changes are made under a lock and put in place by rename: a reader sees a whole file, old or new.
"""

import fcntl
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

FILE = "gpus.state"
MAX_GPUS = 64
MAX_SHARES = 64
MAX_EVENTS = 64
HEALTH = ("ok", "lost", "reset-required", "no-permission", "unknown")
PLUGIN_HEALTH = ("follow", "healthy", "unhealthy")
STRATEGIES = ("time-slicing", "mps")
MIG_STRATEGIES = ("single", "mixed")
MAX_MIG = 7
PREFERENCES = ("spread", "packed", "smallest", "largest", "fullest", "order")
ALLOCATE = ("ok", "fail")
XID_EVENT = 8
_MAX_NUMBER = 1 << 40
_NAMESPACE = uuid.UUID("8d5e6b0a-5f0e-4b8e-9a51-6f0d2c3b7a10")


class BrokenState(Exception):  # noqa: N818  the name states the fact
    """A state or a change that cannot be. The text says which part and what is possible."""


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One part of a GPU whose MIG mode is on."""

    uuid: str
    profile: str
    """As in `1g.5gb`."""
    memory_mib: int
    used_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One simulated GPU. The names are the keys of the file, with `-` for `_`."""

    uuid: str
    name: str
    """As NVML gives it: `NVIDIA A100-SXM4-40GB`."""
    memory_mib: int
    reserved_mib: int = 0
    """What the driver keeps of the memory."""
    used_mib: int = 0
    """What processes use."""
    utilisation: int = 0
    """Percent."""
    health: str = "ok"
    """What NVML's calls answer (HEALTH)."""
    plugin: str = "follow"
    """What the device plugin says (PLUGIN_HEALTH); `follow`: unhealthy unless health is ok."""
    ecc: int = 0
    """Uncorrected memory errors."""
    row_remap_failure: int = 0
    recovery_action: int = 0
    """NVML field 230: 0 none, 1 reset the GPU, 2 reboot ..."""
    temperature: int = 40
    slowdown_temperature: int = 90
    clock_events: int = 0
    """NVML's bits: 32 software thermal, 64 hardware thermal, 128 power brake."""
    hang_ms: int = 0
    """How long each NVML call on this GPU takes."""
    unsupported: str = ""
    """C calls that answer "not supported", separated by commas."""
    mig_mode: int = 0
    """1: the GPU is cut into `mig`, and is given away in these parts only."""
    mig: tuple[MigInstance, ...] = ()
    processes: tuple[tuple[int, int | None], ...] = ()
    """(pid, MiB used or None where the driver does not tell)."""

    @property
    def schedulable(self) -> bool:
        """Whether the device plugin calls it healthy."""
        return self.plugin == "healthy" or (self.plugin == "follow" and self.health == "ok")


@dataclass(frozen=True, slots=True)
class Event:
    number: int
    uuid: str
    type: int
    data: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """All GPUs of a node, and how the device plugin gives them away."""

    node: str
    product: str
    """The name of GPUs that are added later."""
    memory_mib: int
    """Their memory."""
    shares: int = 1
    strategy: str = "time-slicing"
    mig_strategy: str = "single"
    """`single`: MIG instances are devices of the one resource; `mixed`: of one for each profile."""
    prefer: str = "spread"
    """What GetPreferredAllocation answers (PREFERENCES)."""
    order: str = ""
    """For prefer=order: indices of GPUs, best first, separated by commas."""
    allocate: str = "ok"
    """`fail`: Allocate refuses, as when a GPU broke between choice and start."""
    driver: str = "simulated"
    origin: str = ""
    """Digest of what the node was started with: a restart with the same keeps the changes made since."""
    gpus: tuple[Gpu, ...] = ()
    events: tuple[Event, ...] = ()


def gpu_uuid(node: str, index: int) -> str:
    """The same for the same node and index, whenever and wherever the plugin runs."""
    return f"GPU-{uuid.uuid5(_NAMESPACE, f'{node}/{index}')}"


def mig_uuid(gpu: str, index: int) -> str:
    """The same for the same GPU (UUID) and index."""
    return f"MIG-{uuid.uuid5(_NAMESPACE, f'{gpu}/{index}')}"


def with_gpus(state: NodeState, count: int) -> NodeState:
    """The same node with `count` GPUs: the last ones go, new ones are made like the node's product."""
    if not 0 <= count <= MAX_GPUS:
        raise BrokenState(f"{count} GPUs: 0 to {MAX_GPUS} are possible")
    new = tuple(
        Gpu(uuid=gpu_uuid(state.node, index), name=state.product, memory_mib=state.memory_mib)
        for index in range(len(state.gpus), count)
    )
    return replace(state, gpus=state.gpus[:count] + new)


def with_event(state: NodeState, gpu: str, data: int, kind: int = XID_EVENT) -> NodeState:
    """The driver reports something, by default an XID, of a GPU (UUID). Readers that wait for events get it once."""
    number = state.events[-1].number + 1 if state.events else 1
    return replace(state, events=(*state.events, Event(number, gpu, kind, data))[-MAX_EVENTS:])


_NODE_KEYS = tuple(field.name for field in fields(NodeState) if field.name not in ("gpus", "events"))
_GPU_KEYS = tuple(field.name for field in fields(Gpu) if field.name not in ("uuid", "processes", "mig"))
_NUMBERS = frozenset(field.name for kind in (NodeState, Gpu) for field in fields(kind) if field.type is int)
_CHOICES = {
    "health": HEALTH,
    "plugin": PLUGIN_HEALTH,
    "strategy": STRATEGIES,
    "mig_strategy": MIG_STRATEGIES,
    "prefer": PREFERENCES,
    "allocate": ALLOCATE,
}


def number(what: str, text: str) -> int:
    """Raises BrokenState for what is not a whole number from 0 up to 2**40."""
    if not (text.isascii() and text.isdigit() and len(text) <= 13) or int(text) > _MAX_NUMBER:
        raise BrokenState(f"{what} {text!r} is not a whole number")
    return int(text)


def value_of(key: str, text: str) -> int | str:
    """The value of a key of NodeState or Gpu from its text. Raises BrokenState."""
    if key in _NUMBERS:
        return number(key, text)
    if key in _CHOICES and text not in _CHOICES[key]:
        raise BrokenState(f"{key} {text!r} is not one of {', '.join(_CHOICES[key])}")
    if not text.isprintable() or text != text.strip():
        raise BrokenState(f"{key} {text!r} is not one line of text")
    return text


def render(state: NodeState) -> str:
    lines = [
        "# Simulated GPUs of one node. Change them by `python -m gpus set`, or replace this file by rename.",
        "simulated-gpus 1",
    ]
    lines += [f"{key.replace('_', '-')} {value}" for key in _NODE_KEYS if (value := getattr(state, key)) != ""]
    lines += [f"event {one.number} {one.uuid} {one.type} {one.data}" for one in state.events]
    for gpu in state.gpus:
        lines.append(f"gpu {gpu.uuid}")
        lines += [f"  {key.replace('_', '-')} {value}" for key in _GPU_KEYS if (value := getattr(gpu, key)) != ""]
        lines += [f"  mig {one.uuid} {one.profile} {one.memory_mib} {one.used_mib}" for one in gpu.mig]
        lines += [f"  process {pid} {'-' if used is None else used}" for pid, used in gpu.processes]
    return "\n".join([*lines, "end", ""])


def parse(text: str) -> NodeState:
    """The state that render() wrote, or that somebody wrote by hand. Raises BrokenState naming the line."""
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines[:1] != ["simulated-gpus 1"] or lines[-1] != "end":
        raise BrokenState("the state file does not run from `simulated-gpus 1` to `end`")
    node: dict[str, int | str] = {}
    events: list[Event] = []
    gpus: list[dict[str, object]] = []
    for line in lines[1:-1]:
        word, _, text_value = line.partition(" ")
        key = word.replace("-", "_")
        try:
            if key == "gpu":
                gpus.append({"uuid": value_of("uuid", text_value), "mig": (), "processes": ()})
            elif key == "event":
                events.append(_event(text_value))
            elif gpus and key == "process":
                gpus[-1]["processes"] = (*_several(gpus[-1]["processes"]), _process(text_value))
            elif gpus and key == "mig":
                gpus[-1]["mig"] = (*_several(gpus[-1]["mig"]), _mig(text_value))
            elif key in (_GPU_KEYS if gpus else _NODE_KEYS):
                (gpus[-1] if gpus else node)[key] = value_of(key, text_value)
            else:
                raise BrokenState(f"unknown key {word!r}")  # noqa: TRY301  the line is added below
        except BrokenState as err:
            raise BrokenState(f"line {line!r} of the state file: {err}") from None
    try:
        state = NodeState(gpus=tuple(Gpu(**gpu) for gpu in gpus), events=tuple(events), **node)  # type: ignore[arg-type]
    except TypeError as err:
        raise BrokenState(f"the state file lacks a key: {err}") from None
    check(state)
    return state


def check(state: NodeState) -> None:
    """Raises BrokenState for a state that nvml.c would not take up, or that the plugin could not follow."""
    if not 1 <= state.shares <= MAX_SHARES:
        raise BrokenState(f"{state.shares} shares of each GPU: 1 to {MAX_SHARES} are possible")
    uuids = [gpu.uuid for gpu in state.gpus] + [one.uuid for gpu in state.gpus for one in gpu.mig]
    if len(state.gpus) > MAX_GPUS or len(set(uuids)) != len(uuids):
        raise BrokenState(f"more than {MAX_GPUS} GPUs, or two with one UUID")
    numbers = [event.number for event in state.events]
    if numbers != sorted(set(numbers)) or len(numbers) > MAX_EVENTS:
        raise BrokenState(f"event numbers must grow, and there are at most {MAX_EVENTS}")
    for gpu in state.gpus:
        if gpu.reserved_mib > gpu.memory_mib:
            raise BrokenState(f"{gpu.uuid} reserves {gpu.reserved_mib} MiB of {gpu.memory_mib}")
        if not 0 < len(gpu.name) < 96 or not 0 < len(gpu.uuid) < 64 or len(gpu.unsupported) >= 512:
            raise BrokenState(f"{gpu.uuid or 'a GPU'} has no UUID or name, or one that is too long")
        if len(gpu.mig) > MAX_MIG or any(not _is_instance(one) for one in gpu.mig):
            raise BrokenState(f"{gpu.uuid} has more than {MAX_MIG} MIG instances, or one without UUID or PROFILE")
        if " " in gpu.uuid or len(gpu.processes) > 64:
            raise BrokenState(f"{gpu.uuid} has a space in its UUID, or more than 64 processes")
    if any(not part.strip().isdigit() for part in filter(None, state.order.split(","))):
        raise BrokenState(f"order {state.order!r} is not a list of indices such as 1,0")


def _is_instance(one: MigInstance) -> bool:
    return 0 < len(one.uuid) < 64 and 0 < len(one.profile) < 32 and " " not in one.uuid + one.profile


def read(folder: Path) -> NodeState:
    """Raises BrokenState, also when there is no file."""
    try:
        return parse((folder / FILE).read_text())
    except (OSError, UnicodeDecodeError) as err:
        raise BrokenState(f"{folder / FILE} cannot be read: {err}") from None


def write(folder: Path, state: NodeState) -> None:
    check(state)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{FILE}.{os.getpid()}"
    path.write_text(render(state))
    path.rename(folder / FILE)


def change(folder: Path, how: Callable[[NodeState], NodeState]) -> NodeState:
    """Read, change, write, one at a time for each node: two tests that change it at once lose nothing."""
    with (folder / ".change.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        state = how(read(folder))
        write(folder, state)
    return state


def _event(text: str) -> Event:
    match text.split(" "):
        case [count, gpu, kind, data]:
            return Event(number("event", count), gpu, number("event type", kind), number("event data", data))
        case _:
            raise BrokenState("an event is NUMBER UUID TYPE DATA")


def _process(text: str) -> tuple[int, int | None]:
    pid, _, used = text.partition(" ")
    return number("pid", pid), None if used == "-" else number("MiB of a process", used)


def _mig(text: str) -> MigInstance:
    match text.split(" "):
        case [name, profile, memory, used]:
            return MigInstance(name, profile, number("MiB of an instance", memory), number("MiB of an instance", used))
        case _:
            raise BrokenState("a MIG instance is UUID PROFILE MIB USED-MIB")


def _several(value: object) -> tuple[object, ...]:
    assert isinstance(value, tuple)
    return value
