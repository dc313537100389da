"""The real pynvml on the simulated libnvidia-ml.so.1 of dev/gpus, built once for the whole test session."""

import atexit
import ctypes
import functools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pynvml
import pytest

from gpus import state as states
from gpus.changes import apply
from gpus.initial import DEFAULTS, initial
from gpus.library import NoCompiler, build


@functools.cache
def library() -> Path:
    """The built library; skips the test where it cannot be built."""
    folder = Path(tempfile.mkdtemp(prefix="stoker-nvml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        return build(folder)
    except NoCompiler as err:
        pytest.skip(str(err))


class SimulatedDriver:
    """The GPUs of one node, changed in the words of `gpus set`."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.folder = folder
        states.write(folder, apply(initial("node-a", DEFAULTS), words))

    @property
    def path(self) -> Path:
        return self.folder / states.FILE

    @property
    def uuids(self) -> list[str]:
        return [gpu.uuid for gpu in states.read(self.folder).gpus]

    def instances(self, index: int) -> list[str]:
        """UUIDs of the MIG instances of a GPU."""
        return [one.uuid for one in states.read(self.folder).gpus[index].mig]

    def set(self, *words: str) -> None:
        states.change(self.folder, lambda state: apply(state, words))

    def xid(self, index: int, xid: int, kind: int = states.XID_EVENT) -> None:
        states.change(self.folder, lambda state: states.with_event(state, state.gpus[index].uuid, xid, kind))


@contextmanager
def simulated_driver(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> Iterator[SimulatedDriver]:
    """pynvml finds this driver inside, and a session of its own is closed at the end."""
    loaded = ctypes.CDLL(str(library()))
    driver = SimulatedDriver(folder, words)
    monkeypatch.setenv("STOKER_GPUS_STATE", str(driver.path))
    monkeypatch.setattr(pynvml, "nvmlLib", loaded)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    try:
        yield driver
    finally:
        while loaded.nvmlShutdown() == pynvml.NVML_SUCCESS:
            pass
