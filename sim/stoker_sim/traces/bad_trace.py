"""What a loader says of a file that it cannot read: where, what is wrong, and what to do about it."""

import re
from pathlib import Path

from stoker.errors import StokerError


class BadTrace(StokerError):  # noqa: N818  the name states the fact
    """One sentence for whoever gave the file, as in
    `jobs.csv line 7, exec_ms: -3 is below 0; write milliseconds from 0.001 to 1e+09`.
    """

    def __init__(
        self, path: Path | str, reason: str, fix: str, *, line: int | None = None, column: str | None = None
    ) -> None:
        where = str(path) + (f" line {line}" if line else "") + (f", {column}" if column else "")
        # Names and cells are quoted from the file as they are, and one line it shall stay.
        super().__init__(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", f"{where}: {reason}; {fix}"))
        self.path = str(path)
        self.line = line
        """From 1; None where the whole file is meant."""
        self.column = column
        self.reason = reason
        self.fix = fix
