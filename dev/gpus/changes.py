"""The words of `python -m gpus set`: what a person or a test writes to change the GPUs of a running node.

`gpus=3 shares=4 prefer=smallest` change the node, `0.used-mib=30000 1.health=lost` a GPU by index, `*.ecc=2` all.
`0.mig=1g.5gb:4864,2g.10gb:9856:300` cuts a GPU into MIG instances (profile, MiB, MiB in use); `0.mig-mode=0` makes it
whole again.
"""

from collections.abc import Sequence
from dataclasses import fields, replace

from gpus.state import BrokenState, Gpu, MigInstance, NodeState, mig_uuid, number, value_of, with_gpus

NODE_WORDS = (
    "gpus",
    "product",
    "memory",
    "shares",
    "strategy",
    "mig-strategy",
    "prefer",
    "order",
    "allocate",
    "driver",
)
GPU_WORDS = tuple(
    "memory" if field.name == "memory_mib" else field.name.replace("_", "-")
    for field in fields(Gpu)
    if field.name != "uuid"
)
_UNITS = {"Ki": -10, "Mi": 0, "Gi": 10, "Ti": 20}


def parse_memory(text: str) -> int:
    """MiB of a Kubernetes quantity such as 40Gi or 81559Mi. Raises BrokenState."""
    number, unit = text[:-2], text[-2:]
    if unit not in ("Mi", "Gi", "Ti") or not (number.isascii() and number.isdigit()) or not 0 < int(number) < 10**9:
        raise BrokenState(f"memory {text!r} is not a quantity such as 40Gi or 81559Mi")
    return int(number) << _UNITS[unit]


def nvml_name(product: str) -> str:
    """`NVIDIA-A100-SXM4-40GB`, as labels write it, is `NVIDIA A100-SXM4-40GB` to NVML."""
    return product.replace("-", " ", 1) if product.startswith("NVIDIA-") else product


def apply(state: NodeState, words: Sequence[str]) -> NodeState:
    """The state after all changes. Raises BrokenState for the first that cannot be; then none was made."""
    for word in words:
        target, equals, value = word.partition("=")
        if not equals:
            raise BrokenState(f"{word!r} is not KEY=VALUE, INDEX.KEY=VALUE or *.KEY=VALUE")
        index, dot, key = target.rpartition(".")
        state = _on_gpus(state, index, key, value) if dot else _on_node(state, target, value)
    return state


def _on_node(state: NodeState, key: str, value: str) -> NodeState:
    match key:
        case "gpus":
            return with_gpus(state, number(key, value))
        case "product":
            name = str(value_of(key, nvml_name(value)))
            return replace(state, product=name, gpus=tuple(replace(gpu, name=name) for gpu in state.gpus))
        case "memory":
            mib = parse_memory(value)
            return replace(state, memory_mib=mib, gpus=tuple(replace(gpu, memory_mib=mib) for gpu in state.gpus))
        case "shares":
            return replace(state, shares=number(key, value))
        case "strategy" | "mig-strategy" | "prefer" | "order" | "allocate" | "driver":
            name = key.replace("-", "_")
            return replace(state, **{name: value_of(name, value)})  # type: ignore[arg-type]
        case _:
            raise BrokenState(f"{key!r} is no key of a node; there are {', '.join(NODE_WORDS)}")


def _on_gpus(state: NodeState, index: str, key: str, value: str) -> NodeState:
    if index != "*" and not (index.isascii() and index.isdigit() and int(index) < len(state.gpus)):
        raise BrokenState(f"there is no GPU {index!r}: write * or 0 to {len(state.gpus) - 1}")
    if key not in GPU_WORDS:
        raise BrokenState(f"{key!r} is no key of a GPU; there are {', '.join(GPU_WORDS)}")
    return replace(
        state,
        gpus=tuple(_changed(gpu, key, value) if index in ("*", str(at)) else gpu for at, gpu in enumerate(state.gpus)),
    )


def _changed(gpu: Gpu, key: str, value: str) -> Gpu:
    if key == "memory":
        return replace(gpu, memory_mib=parse_memory(value))
    if key == "name":
        return replace(gpu, name=str(value_of(key, nvml_name(value))))
    if key == "mig":
        parts = [part for part in value.split(",") if part]
        mig = tuple(_instance(mig_uuid(gpu.uuid, index), part) for index, part in enumerate(parts))
        return replace(gpu, mig=mig, mig_mode=1 if mig else gpu.mig_mode)
    if key == "processes":
        return replace(gpu, processes=tuple(_process(part) for part in value.split(",") if part))
    name = key.replace("-", "_")
    return replace(gpu, **{name: value_of(name, value)})  # type: ignore[arg-type]


def _instance(uuid: str, text: str) -> MigInstance:
    match text.split(":"):
        case [profile, memory]:
            return MigInstance(uuid, profile, number("MiB of an instance", memory))
        case [profile, memory, used]:
            return MigInstance(uuid, profile, number("MiB of an instance", memory), number("MiB in use", used))
        case _:
            raise BrokenState(f"MIG instance {text!r} is not PROFILE:MIB or PROFILE:MIB:USED-MIB, as in 1g.5gb:4864")


def _process(text: str) -> tuple[int, int | None]:
    pid, colon, used = text.partition(":")
    if not colon:
        raise BrokenState(f"process {text!r} is not PID:MIB, or PID:- where the driver does not tell how much")
    return number("pid", pid), None if used == "-" else number("MiB of a process", used)
