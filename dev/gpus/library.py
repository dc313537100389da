"""Builds libnvidia-ml.so.1 from nvml.c, and puts it where a node's agent finds it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAME = "libnvidia-ml.so.1"
_SOURCE = Path(__file__).with_name("nvml.c")
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-fvisibility=hidden", "-shared", "-pthread")


class NoCompiler(Exception):  # noqa: N818  the name states the fact
    """gcc is not on this machine, or cannot build the library."""


def build(folder: Path, compiler: str = "gcc") -> Path:
    """The built library in `folder`. Raises NoCompiler."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".{NAME}.{os.getpid()}"
    command = [compiler, *_FLAGS, f"-Wl,-soname,{NAME}", "-o", str(made), str(_SOURCE), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise NoCompiler(f"{compiler} is not installed: it builds the simulated {NAME}") from None
    except subprocess.CalledProcessError as err:
        raise NoCompiler(f"{compiler} cannot build the simulated {NAME}: {err.stderr.strip()}") from None
    return made.rename(folder / NAME)


def place(library: Path, folder: Path) -> None:
    """Put a copy into `folder` by rename: writing into a library that a process has mapped would crash it."""
    target = folder / NAME
    if target.exists() and target.read_bytes() == library.read_bytes():
        return
    made = folder / f".{NAME}.{os.getpid()}"
    shutil.copyfile(library, made)
    made.chmod(0o755)
    made.rename(target)


if __name__ == "__main__":  # the image builds it where no grpcio is, which `python -m gpus` needs
    print(build(Path(sys.argv[1])))
