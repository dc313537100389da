"""A program that ends with this process, however that ends: kill -9 leaves nothing behind.

A small shell holds the program as its child and reads from a pipe whose other end is ours alone. End of file means
that we are gone (or closed it), and the shell kills the program. The kernel's parent-death signal would not do: it
fires when the starting *thread* ends.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_SHELL: Final = "/bin/sh"
_KEEPER: Final = '"$@" 3<&- & s=$!; { read _ <&3; kill -9 $s 2>/dev/null; } & k=$!; wait $s; r=$?; kill -9 $k; exit $r'


class Tethered:
    """One running program. `stop()` may be called twice; the log keeps what it said."""

    def __init__(self, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        reading, self._tether = os.pipe()
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._pid = os.posix_spawn(
                _SHELL,
                [_SHELL, "-c", _KEEPER, str(argv[0]), *map(str, argv)],
                dict(os.environ if env is None else env),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reading, 3),
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
        except BaseException:
            os.close(self._tether)
            raise
        finally:
            os.close(reading)
        self._ended = False

    def alive(self) -> bool:
        if not self._ended:
            self._ended = os.waitpid(self._pid, os.WNOHANG)[0] == self._pid
        return not self._ended

    def stop(self) -> None:
        """Kills the program at once (its data is thrown away) and returns when it is gone."""
        if self._tether >= 0:
            os.close(self._tether)
            self._tether = -1
        for _ in range(500):
            if not self.alive():
                return
            time.sleep(0.01)
        os.killpg(self._pid, signal.SIGKILL)  # the shell itself hangs; its session holds the program too
        os.waitpid(self._pid, 0)
        self._ended = True
