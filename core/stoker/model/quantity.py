"""Quantities as users write them (`250ms`, `4Gi`, `500m`) and as integers.

Durations are whole microseconds, memory whole MiB (rounded up), CPU whole millicores. The accepted
texts are the same as the `pattern`s in crds/: a contract test holds the two together.
"""

import re

from stoker.errors import InvalidObject

_DURATION = re.compile(r"^(?:[0-9]+(?:us|ms|s|m|h))+$")
_DURATION_PART = re.compile(r"([0-9]+)(us|ms|s|m|h)")
_MEMORY = re.compile(r"^([0-9]+)(Mi|Gi|Ti|M|G|T)$")
_CPU = re.compile(r"^([0-9]+)(m?)$|^([0-9]+)\.([0-9]{1,3})$")

_UNIT_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_UNIT_BYTES = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_duration_us(text: str, path: str = "") -> int:
    """`1m30s` -> 90_000_000. Raises InvalidObject naming `path` for anything else."""
    if not _DURATION.match(text):
        raise InvalidObject(path, f"{text!r} is not a duration; write a number and us, ms, s, m or h, as in 250ms")
    return sum(int(number) * _UNIT_US[unit] for number, unit in _DURATION_PART.findall(text))


def parse_memory_mib(text: str, path: str = "") -> int:
    """`4Gi` -> 4096; part MiB round up. Raises InvalidObject naming `path` for anything else."""
    match = _MEMORY.match(text)
    if match is None:
        raise InvalidObject(
            path, f"{text!r} is not an amount of memory; write a number and Mi, Gi, Ti, M, G or T, as in 4Gi"
        )
    return -(-int(match[1]) * _UNIT_BYTES[match[2]] // 2**20)


def parse_cpu_millis(text: str, path: str = "") -> int:
    """`500m` -> 500, `2` -> 2000, `0.5` -> 500. Raises InvalidObject naming `path` for anything else."""
    match = _CPU.match(text)
    if match is None:
        raise InvalidObject(path, f"{text!r} is not an amount of CPU; write cores or millicores, as in 2 or 500m")
    if match[1] is not None:
        return int(match[1]) * (1 if match[2] else 1000)
    return int(match[3]) * 1000 + int(match[4].ljust(3, "0"))


def format_duration(us: int) -> str:
    """A duration for a person: `8.2 s`, `250 ms`, `40 us`."""
    if us >= 1_000_000:
        return f"{us / 1_000_000:.3g} s" if us < 1_000_000_000 else f"{us // 1_000_000} s"
    return f"{us / 1_000:.3g} ms" if us >= 1_000 else f"{us} us"
