"""Settings of a process: defaults, then `STOKER_*` environment variables, then flags.

A settings type is a frozen struct whose field `drain_s` is read from `STOKER_DRAIN_S`. One call reads the
environment for all settings types of a process at once, so that a misspelt name is an error and not silently
ignored. Knows no component: each one brings its own struct, and the composer hands them in.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from stoker.errors import StokerError

PREFIX = "STOKER_"

S = TypeVar("S", bound=Struct)


class BadSetting(StokerError):  # noqa: N818  the name states the fact
    """A setting has an unknown name or a value that it cannot take. The text names the variable and the fix."""


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """What every process of Stoker reads."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written. `info` has one line per state change and per refused, late or cold request."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto`: for people on a terminal, one JSON object a line elsewhere, where programs read it."""
    max_series: Annotated[int, Meta(ge=10, le=1_000_000)] = 5_000
    """Labelled series per metric. More are counted together under the label `_other`, so that neither the process
    nor the Prometheus that scrapes it grows without bound; 5,000 is 1,000 functions with five outcomes each."""


class ServeSettings(Struct, frozen=True, kw_only=True):
    """What `stoker serve` reads besides ProcessSettings."""

    drain_s: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """Seconds that accepted requests get to finish after SIGTERM; what still runs then is ended. 30 is what
    Kubernetes gives a pod by default."""
    quantum_s: Annotated[float, Meta(gt=0, le=86_400)] = 10.0
    """Seconds that a waiting function waits at least before a busy one must give way. Shorter turns spend more of
    the device's time on start-ups; a slow start raises the bound to three start-ups by itself."""
    records_kept: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Newest requests that `stoker explain` can explain. About 1 KiB of memory each."""
    event_log_mib: Annotated[int, Meta(ge=1, le=1_000_000)] = 64
    """Size at which a file of the event log is closed and the next one begun."""
    event_log_files: Annotated[int, Meta(ge=1, le=1_000)] = 4
    """Files of the event log that are kept, the newest included; each of them replays alone."""


def variable_of(field: str) -> str:
    """`drain_s` -> `STOKER_DRAIN_S`."""
    return PREFIX + field.upper()


def known_variables(*types: type[Struct]) -> tuple[str, ...]:
    """The environment variables that the types read, sorted."""
    return tuple(sorted({variable_of(field) for kind in types for field in kind.__struct_fields__}))


def refuse_unknown(environ: Mapping[str, str], *types: type[Struct]) -> None:
    """Raise BadSetting for the first STOKER_* variable that none of the types reads, naming the nearest known one."""
    known = known_variables(*types)
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise BadSetting(
                f"The environment variable {name} is not a setting of Stoker; the nearest one is {nearest[0]}: "
                "correct its name or unset it."
            )


def load(kind: type[S], environ: Mapping[str, str], flags: Mapping[str, object] | None = None) -> S:
    """The settings of one type. A flag that is None was not given. Raises BadSetting for a value out of range."""
    given: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for field in kind.__struct_fields__:
        variable = variable_of(field)
        if variable in environ:
            given[field] = environ[variable]
            sources[field] = f"The environment variable {variable}"
        if flags is not None and flags.get(field) is not None:
            given[field] = flags[field]
            sources[field] = "The flag --" + field.removesuffix("_s").replace("_", "-")
    # One field at a time, so that the message can name where the value came from.
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for field, value in given.items():
        try:
            values[field] = msgspec.convert(value, hints[field], strict=False)
        except msgspec.ValidationError as err:
            wanted = str(err).partition(" - at ")[0].replace("`", "")
            why = f"{wanted[:1].lower()}{wanted[1:]}"
            if get_origin(hints[field]) is Literal:
                why = "choose one of " + ", ".join(get_args(hints[field]))
            raise BadSetting(f"{sources[field]} is {value!r}, which it cannot be: {why}.") from err
    return kind(**values)
