"""The few exceptions of Stoker. Expected refusals are values (stoker.reasons), never exceptions."""


class StokerError(Exception):
    """Root of what Stoker raises on purpose. Its text is one sentence for a person."""


class InvalidObject(StokerError):  # noqa: N818  the name states the fact
    """An object that a user gave is not valid. `path` is where in it, as in `spec.slo.latency`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class UnknownName(StokerError):  # noqa: N818  the name states the fact
    """A policy or setting was named that does not exist; raised at start-up, never on a request."""
