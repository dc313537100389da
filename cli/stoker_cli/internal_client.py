"""Asks the internal listener of a running `stoker serve`. Blocking, for short commands; loads in milliseconds."""

import http.client
from urllib.parse import urlsplit

from stoker_cli.console import CommandFailed
from stoker_cli.state_file import ServeState

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
