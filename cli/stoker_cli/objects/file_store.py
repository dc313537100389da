"""Files and folders as the source of objects, watched while running: embedded mode's stand-in for the API server.

Level-triggered: every scan compares what is there with what was read last; notifications only make the next scan
come sooner, so a lost one costs at most POLL_S. Reading and parsing run in a worker thread, never on the loop.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from watchfiles import Change, awatch

from stoker_cli.objects.documents import MAX_FILE_BYTES, ObjectError
from stoker_cli.objects.file_scan import Scan, Signature, scan
from stoker_cli.objects.object_file import Check, FileObjects, load_objects
from stoker_cli.objects.object_table import Beyond, ObjectTable, StoreSnapshot
from stoker_cli.objects.validation import Validator

__all__ = ["FileStore", "ObjectError", "StoreSnapshot"]

log = structlog.get_logger(__name__)

POLL_S = 2.0
"""Between scans that nothing asked for: file systems without notifications, targets of symbolic links."""
SETTLE_S = 0.05
"""A file counts as written when it did not change for this long."""
VANISHED_S = 0.5
"""A file that is gone or empty for less than this is being replaced, not deleted."""
_SETTLE_ROUNDS = 40
_WATCH_TURN_MS = 250


class FileStore:
    """Keeps the objects of files current. Callbacks run on the loop; an error is told once for each change."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        on_change: Callable[[StoreSnapshot], None],
        on_error: Callable[[ObjectError], None],
        check: Check | None = None,
        beyond: Beyond = lambda _function, _policy: None,
    ) -> None:
        self._shown = {path.absolute(): str(path) for path in paths}
        self._paths = tuple(self._shown)
        self._on_change = on_change
        self._on_error = on_error
        self._check = check
        self._table = ObjectTable(beyond)
        self._read: dict[Path, Signature] = {}
        self._vanished: dict[Path, float] = {}
        self._problems: dict[Path, str] = {}
        self._last: StoreSnapshot | None = None
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load everything once (the callbacks have run on return), then watch."""
        await self._refresh(await self._look())
        self._tasks = [
            asyncio.create_task(self._run(), name="file-store"),
            asyncio.create_task(self._listen(), name="file-store-watch"),
        ]
        for task in self._tasks:
            task.add_done_callback(_report)

    async def stop(self) -> None:
        """Stop watching. What was told stays as it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _run(self) -> None:
        while True:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(VANISHED_S / 2 if self._vanished else POLL_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._refresh(await self._settled())
            except Exception:
                # One file that breaks the reader, or a callback that fails, must not end the watching of all others.
                log.exception("files_not_followed")

    async def _listen(self) -> None:
        """Turn notifications into wake-ups; start anew when folders come or go, or after an error."""
        while True:
            folders = await asyncio.to_thread(self._folders)
            stop = asyncio.Event()
            fresh = True
            try:
                async for changes in awatch(
                    *folders,
                    watch_filter=self._concerns,
                    debounce=200,
                    step=20,
                    stop_event=stop,
                    rust_timeout=_WATCH_TURN_MS,
                    yield_on_timeout=True,
                    recursive=False,
                    ignore_permission_denied=True,
                ):
                    # The first turn shows that the watch stands: look once more for what came before it did.
                    if changes or fresh:
                        self._wake.set()
                    fresh = False
                    if await asyncio.to_thread(self._folders) != folders:
                        stop.set()
            except (OSError, RuntimeError):
                # A folder went while the watch was set up, or the kernel has no watches left: polling goes on.
                await asyncio.sleep(POLL_S)

    def _folders(self) -> dict[Path, int]:
        """Folders to watch and their inodes: those named, and those that hold what is named, where it is replaced."""
        inodes: dict[Path, int] = {}
        for path in (*self._paths, *(path.parent for path in self._paths)):
            with contextlib.suppress(OSError):
                if path.is_dir():
                    inodes[path] = path.stat().st_ino
        return inodes or {Path("/"): 0}

    def _concerns(self, _change: Change, name: str) -> bool:
        path = Path(name)
        return path in self._shown or path.parent in self._shown

    async def _look(self) -> Scan:
        return await asyncio.to_thread(scan, self._paths, self._read)

    async def _settled(self) -> Scan:
        """What is there once it did not change for SETTLE_S; after some rounds, as it is."""
        seen = await self._look()
        for _ in range(_SETTLE_ROUNDS):
            if all(self._read.get(file) == signature for file, signature in seen.files.items()):
                break
            await asyncio.sleep(SETTLE_S)
            before, seen = seen, await self._look()
            if before == seen:
                break
        return seen

    async def _refresh(self, seen: Scan) -> None:
        """Bring the objects to what was seen, and tell what changed."""
        errors = self._drop_gone(seen)
        for file, signature in seen.files.items():
            if self._read.get(file) == signature:
                self._vanished.pop(file, None)
            elif signature.size or file not in self._read or self._gone_for_long(file):
                self._vanished.pop(file, None)
                self._read[file] = signature
                loaded = await asyncio.to_thread(self._load, file, signature)
                self._table.put(self._name(file), loaded)
                errors += loaded.errors
        snapshot, duplicates = self._table.resolve(map(self._name, seen.files))
        for error in (*errors, *duplicates):
            self._on_error(error)
        if snapshot != self._last:
            self._last = snapshot
            self._on_change(snapshot)

    def _drop_gone(self, seen: Scan) -> list[ObjectError]:
        """Forget files that are gone for long; the errors are of named paths that have a new problem."""
        for file in [file for file in self._read if file not in seen.files]:
            if self._gone_for_long(file):
                del self._read[file], self._vanished[file]
                self._table.drop(self._name(file))
        # While files of a path are still remembered, its absence may be a replacement.
        problems = {
            path: message
            for path, message in seen.problems.items()
            if not any(path in (file, file.parent) for file in self._vanished)
        }
        fresh = [path for path, message in problems.items() if self._problems.get(path) != message]
        self._problems = problems
        return [ObjectError(file=self._shown[path], line=0, path="", message=problems[path]) for path in fresh]

    def _gone_for_long(self, file: Path) -> bool:
        now = asyncio.get_running_loop().time()
        return now - self._vanished.setdefault(file, now) >= VANISHED_S

    def _load(self, file: Path, signature: Signature) -> FileObjects:
        """Read and parse one file; runs in a thread."""
        problem, data = signature.problem, b""
        if not problem:
            try:
                with file.open("rb") as stream:
                    # One byte more than may be read: the reader says that the file is too long.
                    data = stream.read(MAX_FILE_BYTES + 1)
            except OSError as error:
                problem = error.strerror or "unknown error"
        if problem:
            error_line = ObjectError(file=self._name(file), line=0, path="", message=f"cannot be read: {problem}")
            return FileObjects(objects={}, errors=(error_line,), unread=True)
        return load_objects(data, self._name(file), Validator.packaged(), self._check)

    def _name(self, file: Path) -> str:
        """A file as the user would name it."""
        if file in self._shown:
            return self._shown[file]
        return str(Path(self._shown.get(file.parent, str(file.parent))) / file.name)


def _report(task: asyncio.Task[None]) -> None:
    """A watcher that ends by an error must not end in silence."""
    if not task.cancelled() and (error := task.exception()):
        context = {"message": "the file store stopped watching", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)
