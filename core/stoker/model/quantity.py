"""Quantities as users write them (`250ms`, `4Gi`, `500m`) and as integers.

Durations are whole microseconds, memory whole MiB (rounded up), CPU whole millicores. The accepted
texts are the same as the `pattern`s in crds/: a contract test holds the two together.
"""

import re

from stoker.errors import InvalidObject

# The digits are bounded so that no sum overflows the 64-bit nanoseconds of CEL's duration().
DURATION_PATTERN = r"^([0-9]{1,9}(us|ms|s)|[0-9]{1,6}(m|h))+$"
DURATION_MAX_LENGTH = 20
MEMORY_PATTERN = r"^[1-9][0-9]{0,8}(Mi|Gi|Ti|M|G|T)$"
CPU_PATTERN = r"^([0-9]{1,6}m?|[0-9]{1,4}\.[0-9]{1,3})$"

_DURATION = re.compile(DURATION_PATTERN)
_DURATION_PART = re.compile(r"([0-9]+)(us|ms|s|m|h)")
_MEMORY = re.compile(MEMORY_PATTERN)
_CPU = re.compile(CPU_PATTERN)

_UNIT_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_UNIT_BYTES = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_duration_us(text: str, path: str = "") -> int:
    """`1m30s` -> 90_000_000. Raises InvalidObject naming `path` for anything else."""
    if len(text) > DURATION_MAX_LENGTH or not _DURATION.fullmatch(text):
        raise InvalidObject(path, f"{text!r} is not a duration; write a number and us, ms, s, m or h, as in 250ms")
    return sum(int(number) * _UNIT_US[unit] for number, unit in _DURATION_PART.findall(text))


def parse_memory_mib(text: str, path: str = "") -> int:
    """`4Gi` -> 4096; part MiB round up. Raises InvalidObject naming `path` for anything else."""
    if not _MEMORY.fullmatch(text):
        raise InvalidObject(
            path, f"{text!r} is not an amount of memory; write a number and Mi, Gi, Ti, M, G or T, as in 4Gi"
        )
    unit = text.lstrip("0123456789")
    return -(-int(text.removesuffix(unit)) * _UNIT_BYTES[unit] // 2**20)


def parse_cpu_millis(text: str, path: str = "") -> int:
    """`500m` -> 500, `2` -> 2000, `0.5` -> 500. Raises InvalidObject naming `path` for anything else."""
    if not _CPU.fullmatch(text):
        raise InvalidObject(path, f"{text!r} is not an amount of CPU; write cores or millicores, as in 2 or 500m")
    if text.endswith("m"):
        return int(text[:-1])
    cores, _, fraction = text.partition(".")
    return int(cores) * 1000 + int(fraction.ljust(3, "0"))


def format_duration(us: int) -> str:
    """A duration for a person, to three digits: `8.2 s`, `250 ms`, `40 us`."""
    # The bounds are where three digits round up to the next unit, before `g` would turn to an exponent.
    if us >= 999_500:
        return f"{us / 1_000_000:.3g} s" if us < 999_500_000 else f"{round(us / 1_000_000)} s"
    return f"{us / 1_000:.3g} ms" if us >= 1_000 else f"{us} us"
