"""The store on a real folder with real notifications: edits of all kinds, nothing deleted by mistake."""

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from stoker.model.function import Function
from stoker_cli.launching import CannotRun
from stoker_cli.objects import file_store
from stoker_cli.objects.file_store import FileStore, StoreSnapshot
from stoker_cli.objects.object_file import FileObjects, load_objects

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _shorter_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "VANISHED_S", 0.1)
    monkeypatch.setattr(file_store, "SETTLE_S", 0.01)
    monkeypatch.setattr(file_store, "_WATCH_TURN_MS", 15)


def text(name: str = "f", latency: str = "1s") -> str:
    return (
        "apiVersion: stoker.dev/v1alpha1\nkind: GpuFunction\n"
        f"metadata: {{name: {name}}}\n"
        f"spec: {{container: {{command: [x]}}, gpu: {{memory: 1Gi}}, slo: {{latency: {latency}}}}}\n"
    )


class Watched:
    """A store and all that it told."""

    def __init__(self, *paths: Path, check: Callable[[Function], Function | CannotRun] | None = None) -> None:
        self.snapshots: list[StoreSnapshot] = []
        self.errors: list[str] = []
        self.store = FileStore(
            paths,
            on_change=self.snapshots.append,
            on_error=lambda error: self.errors.append(str(error)),
            check=check,
        )

    async def __aenter__(self) -> Self:
        await self.store.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.stop()

    def latencies(self) -> dict[str, int]:
        functions = self.snapshots[-1].functions
        return {function.name: function.spec.slo.latency_us // 1_000_000 for function in functions.values()}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(6):
            while not condition():
                await asyncio.sleep(0.01)

    async def becomes(self, **latencies: int) -> None:
        await self.until(lambda: self.latencies() == latencies)


async def test_the_first_load_is_done_when_start_returns(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("a"))
    (tmp_path / "b.yml").write_text(text("b", "2s"))
    (tmp_path / "notes.txt").write_text("not yaml: [")
    (tmp_path / ".hidden.yaml").write_text("not yaml: [")
    (tmp_path / "folder.yaml").mkdir()
    async with Watched(tmp_path) as watched:
        assert len(watched.snapshots) == 1
        assert watched.latencies() == {"a": 1, "b": 2}
        assert watched.errors == []
        function = watched.snapshots[0].functions["default/a"]
        assert (function.origin, function.work_dir) == (str(tmp_path / "a.yaml"), str(tmp_path))


async def test_files_are_applied_changed_and_deleted_while_running(tmp_path: Path) -> None:
    async with Watched(tmp_path) as watched:
        assert watched.latencies() == {}
        (tmp_path / "a.yaml").write_text(text("a"))
        await watched.becomes(a=1)
        (tmp_path / "a.yaml").write_text(text("a", "2s"))
        await watched.becomes(a=2)
        (tmp_path / "b.yaml").write_text(text("b"))
        await watched.becomes(a=2, b=1)
        (tmp_path / "a.yaml").unlink()
        await watched.becomes(b=1)
        assert watched.errors == []


async def test_a_file_that_is_replaced_as_editors_do_is_never_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "VANISHED_S", 0.3)
    file = tmp_path / "a.yaml"
    file.write_text(text("a"))
    async with Watched(file) as watched:
        (tmp_path / "a.yaml.tmp").write_text(text("a", "2s"))
        (tmp_path / "a.yaml.tmp").rename(file)
        await watched.becomes(a=2)
        # As vim does: away, then anew.
        file.rename(tmp_path / "a.yaml~")
        await asyncio.sleep(0.08)
        file.write_text(text("a", "3s"))
        await watched.becomes(a=3)
        # As a shell does: truncated, then written.
        file.write_text("")
        await asyncio.sleep(0.08)
        file.write_text(text("a", "4s"))
        await watched.becomes(a=4)
        assert [snapshot.functions.keys() for snapshot in watched.snapshots] == [{"default/a"}] * 4
        assert watched.errors == []


async def test_a_file_that_turns_bad_keeps_its_objects_and_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text("a"))
    async with Watched(tmp_path) as watched:
        file.write_text(text("a", "fast"))
        await watched.until(lambda: len(watched.errors) == 1)
        assert "spec.slo.latency: 'fast' is not a duration" in watched.errors[0]
        (tmp_path / "b.yaml").write_text(text("b"))
        await watched.becomes(a=1, b=1)
        file.write_text("a: [")
        await watched.until(lambda: len(watched.errors) == 2)
        file.write_text(text("a", "5s"))
        await watched.becomes(a=5, b=1)
        assert len(watched.errors) == 2


async def test_an_emptied_file_keeps_its_objects_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text("a"))
    async with Watched(file) as watched:
        file.write_text("")
        await watched.until(lambda: len(watched.errors) == 1)
        assert "there is no object in the file" in watched.errors[0]
        assert watched.latencies() == {"a": 1}


async def test_duplicates_are_refused_and_the_next_takes_over(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("f"))
    (tmp_path / "b.yaml").write_text(text("f", "2s"))
    async with Watched(tmp_path) as watched:
        assert watched.latencies() == {"f": 1}
        assert len(watched.errors) == 1
        assert watched.errors[0].startswith(f"{tmp_path}/b.yaml:1: metadata.name: 'default/f' stands in")
        (tmp_path / "a.yaml").unlink()
        await watched.becomes(f=2)


async def test_a_folder_that_is_deleted_and_made_again_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "a.yaml").write_text(text("a"))
    async with Watched(folder) as watched:
        (folder / "a.yaml").unlink()
        folder.rmdir()
        await watched.becomes()
        await watched.until(lambda: len(watched.errors) == 1)
        assert "there is no such file or folder" in watched.errors[0]
        folder.mkdir()
        (folder / "a.yaml").write_text(text("a", "2s"))
        await watched.becomes(a=2)
        (folder / "b.yaml").write_text(text("b"))
        await watched.becomes(a=2, b=1)


async def test_a_path_that_is_not_there_yet_is_told_once_and_read_when_it_comes(tmp_path: Path) -> None:
    file = tmp_path / "later.yaml"
    async with Watched(file) as watched:
        assert watched.errors == [f"{file}: there is no such file or folder; it is read as soon as it is there"]
        file.write_text(text("a"))
        await watched.becomes(a=1)
        assert len(watched.errors) == 1


async def test_a_symbolic_link_is_followed_and_one_to_nowhere_is_not_there(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "one").write_text(text("a"))
    (real / "two").write_text(text("a", "2s"))
    folder = tmp_path / "functions"
    folder.mkdir()
    (folder / "a.yaml").symlink_to(real / "one")
    (folder / "dead.yaml").symlink_to(real / "nowhere")
    (folder / "loop.yaml").symlink_to(folder / "loop.yaml")
    async with Watched(folder) as watched:
        assert watched.latencies() == {"a": 1}
        assert [error.rpartition("/")[2] for error in watched.errors] == [
            "loop.yaml: cannot be read: Too many levels of symbolic links"
        ]
        (folder / "new").symlink_to(real / "two")
        (folder / "new").rename(folder / "a.yaml")
        await watched.becomes(a=2)


async def test_what_is_no_file_never_hangs_the_store(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "a.yaml").write_text(text("a"))
    async with Watched(tmp_path) as watched:
        assert watched.latencies() == {"a": 1}
        assert watched.errors == [f"{tmp_path}/pipe.yaml: cannot be read: it is not a regular file"]


async def test_a_file_that_cannot_be_read_keeps_its_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text("a"))
    async with Watched(file) as watched:
        with monkeypatch.context() as patched:

            def refuse(*_: object, **__: object) -> None:
                raise PermissionError(13, "Permission denied")

            patched.setattr(Path, "open", refuse)
            os.utime(file, (1, 1))
            await watched.until(lambda: len(watched.errors) == 1)
        assert watched.errors == [f"{file}: cannot be read: Permission denied"]
        assert watched.latencies() == {"a": 1}
        file.chmod(0o640)
        os.utime(file, (2, 2))
        file.write_text(text("a", "2s"))
        await watched.becomes(a=2)


async def test_without_notifications_polling_finds_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_watches(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device (inotify watches)")

    monkeypatch.setattr(file_store, "awatch", no_watches)
    monkeypatch.setattr(file_store, "POLL_S", 0.1)
    async with Watched(tmp_path) as watched:
        (tmp_path / "a.yaml").write_text(text("a"))
        await watched.becomes(a=1)


async def test_what_this_installation_cannot_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("a") + "---\n" + text("b"))
    no = CannotRun(path=("spec", "gpu"), message="does not fit")
    async with Watched(tmp_path, check=lambda function: no if function.name == "a" else function) as watched:
        assert watched.latencies() == {"b": 1}
        assert watched.errors == [f"{tmp_path}/a.yaml:4: spec.gpu: does not fit"]


async def test_parsing_never_runs_on_the_loop_and_callbacks_always_do(tmp_path: Path) -> None:
    loop_thread, checked, told = threading.get_ident(), [], []

    def check(function: Function) -> Function:
        checked.append(threading.get_ident())
        return function

    (tmp_path / "a.yaml").write_text(text("a"))
    store = FileStore(
        [tmp_path], on_change=lambda _: told.append(threading.get_ident()), on_error=lambda _: None, check=check
    )
    await store.start()
    await store.stop()
    assert loop_thread not in checked
    assert (len(checked), told) == (1, [loop_thread])


async def test_a_file_that_breaks_the_reader_does_not_end_the_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Watched(tmp_path) as watched:
        broken = threading.Event()

        def breaks_once(*args: Any) -> FileObjects:
            if not broken.is_set():
                broken.set()
                raise KeyError("a mistake of ours")
            return load_objects(*args)

        monkeypatch.setattr(file_store, "load_objects", breaks_once)
        (tmp_path / "a.yaml").write_text(text("f"))
        await asyncio.to_thread(broken.wait, 5)
        (tmp_path / "b.yaml").write_text(text("g", "2s"))
        await watched.becomes(g=2)


async def test_a_file_whose_name_is_not_utf_8_is_told_and_spares_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("f"))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff\n.yaml")).write_text(text("g"))
    async with Watched(tmp_path) as watched:
        assert watched.latencies() == {"f": 1}
        assert watched.errors == [f"{tmp_path}/b? .yaml: cannot be read: its name is not UTF-8 text; rename it"]


async def test_one_file_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text("a"))
    async with Watched(tmp_path / "a.yaml", tmp_path, tmp_path / "a.yaml") as watched:
        assert (watched.latencies(), watched.errors) == ({"a": 1}, [])


async def test_a_change_that_comes_together_with_the_end_does_not_delay_it(tmp_path: Path) -> None:
    store = FileStore((tmp_path,), on_change=lambda _: None, on_error=lambda _: None)
    await store.start()
    await asyncio.sleep(0.05)
    store._wake.set()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await store.stop()


async def test_a_storm_of_edits_ends_in_the_last_one(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text("a"))
    async with Watched(file) as watched:
        for second in range(2, 40):
            (tmp_path / "new").write_text(text("a", f"{second}s"))
            (tmp_path / "new").rename(file)
            await asyncio.sleep(0.003)
        await watched.becomes(a=39)
        assert watched.errors == []
