"""Asks the internal listener of a running `stoker serve`. Blocking, for short commands; loads in milliseconds."""

import http.client
from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from stoker_cli.console import CommandFailed, listed
from stoker_cli.state_file import ServeState
from stoker_cli.state_view import StateView

TIMEOUT_S = 5.0


def get_json(state: ServeState, path: str) -> bytes | None:
    """The JSON text at `path`, None for 404. Raises CommandFailed where the instance does not answer."""
    parts = urlsplit(state.internal)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as err:
        raise CommandFailed(
            f"The stoker serve with process id {state.pid} does not answer on {state.internal} "
            f"({str(err) or type(err).__name__}); it may be stopping, or overloaded."
        ) from err
    finally:
        connection.close()
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise CommandFailed(f"{state.internal}{path} answered {answer.status}; the log of stoker serve says why.")
    return body


def get_view(state: ServeState) -> StateView:
    """What the instance says of itself. Raises CommandFailed where it says nothing that this version understands."""
    body = get_json(state, "/v1/state")
    try:
        if body is not None:
            return msgspec.json.decode(body, type=StateView)
    except msgspec.DecodeError:
        pass
    raise CommandFailed(
        f"{state.internal} is not the internal listener of a stoker serve of this version; "
        "use the command stoker of the installation that serves there."
    )


def unknown_function(url: str, name: str, known: Iterable[str]) -> CommandFailed:
    """The error for a function that the platform at `url` does not have."""
    keys = sorted(known)
    has = f"its functions are {listed(keys)}" if keys else "it has no function now"
    key = name.strip("/") if "/" in name else f"default/{name}"
    return CommandFailed(f"The platform at {url} has no function {key}; {has}.")
