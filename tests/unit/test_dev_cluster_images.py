"""Images: what they are built from, how a single program is packed, and what their locks promise."""

import json
import re
import tarfile
from pathlib import Path

import pytest

from cluster import build_context, image_archive, images
from cluster.build_context import REPOSITORY, ContextError

pytestmark = pytest.mark.unit

LOCKS = sorted((REPOSITORY / "requirements" / "images").glob("*.txt"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one image, `thing`."""
    image = tmp_path / "repository" / "images" / "thing"
    image.mkdir(parents=True)
    (image / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.setattr(build_context, "REPOSITORY", tmp_path / "repository")
    monkeypatch.setattr(build_context, "_IMAGES", tmp_path / "repository" / "images")
    return image


def test_a_context_changes_its_digest_with_its_content_and_not_with_time(folder: Path, tmp_path: Path) -> None:
    first = build_context.prepare("thing", tmp_path / "1")
    (folder / "Dockerfile").touch()
    assert build_context.prepare("thing", tmp_path / "2") == first
    (folder / "Dockerfile").write_text("FROM debian\n")
    assert build_context.prepare("thing", tmp_path / "3") != first


def test_a_context_holds_what_its_settings_name(folder: Path, tmp_path: Path) -> None:
    source = folder.parents[1] / "examples"
    (source / "__pycache__").mkdir(parents=True)
    (source / "handler.py").write_text("serve()")
    (folder / "context.toml").write_text('[files]\n"app" = "examples"\n"one/more.py" = "examples/handler.py"\n')
    build_context.prepare("thing", tmp_path / "context")
    found = {str(path.relative_to(tmp_path / "context")) for path in (tmp_path / "context").rglob("*")}
    assert found == {"Dockerfile", "app", "app/handler.py", "one", "one/more.py"}


@pytest.mark.parametrize("settings", ["wheels = true\n", "files = 3\n", "not toml"])
def test_wrong_settings_are_refused_with_the_file(folder: Path, tmp_path: Path, settings: str) -> None:
    (folder / "context.toml").write_text(settings)
    with pytest.raises(ContextError, match=r"context\.toml is not as"):
        build_context.prepare("thing", tmp_path / "context")


@pytest.mark.usefixtures("folder")
def test_an_unknown_image_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="there are thing"):
        build_context.prepare("other", tmp_path / "context")


def test_names_follow_the_folders() -> None:
    assert images.reference("stoker") == "localhost/stoker:dev"
    assert (
        images.reference("echo-function", "registry.example/team", "1.2")
        == "registry.example/team/stoker-echo-function:1.2"
    )


def test_a_packed_program_is_an_image_that_runs_it_as_nobody(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_bytes(b"\x7fELF")
    image_archive.pack(tmp_path / "a.tar", "localhost/tool:1", program)
    image_archive.pack(tmp_path / "b.tar", "localhost/tool:1", program)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:

        def content(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        (manifest,) = json.loads(content("manifest.json"))
        config = json.loads(content(manifest["Config"]))
        assert manifest["RepoTags"] == ["localhost/tool:1"]
        assert config["config"]["User"] == "65532:65532"
        (layer,) = manifest["Layers"]
        (tmp_path / "layer.tar").write_bytes(content(layer))
    with tarfile.open(tmp_path / "layer.tar") as tar:
        (entry,) = tar.getmembers()
    assert f"/{entry.name}" == config["config"]["Entrypoint"][0]
    assert entry.mode == 0o755


@pytest.mark.parametrize("name", build_context.image_names())
def test_every_dockerfile_begins_with_the_base_and_ends_without_root(name: str) -> None:
    text = (REPOSITORY / "images" / name / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert {*stages} <= {"docker.io/library/debian:bookworm-slim", "scratch"}
    last = text[text.rindex("\nFROM ") if len(stages) > 1 else 0 :]
    assert "gcc" not in last
    assert "pip" not in last


@pytest.mark.parametrize("name", [path.parent.name for path in (REPOSITORY / "images").glob("*/context.toml")])
def test_what_a_context_names_exists(name: str) -> None:
    settings = build_context.settings_of(name)
    for path in [*settings.files.values(), *([settings.requirements] if settings.requirements else [])]:
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_pins_with_hashes_names_no_address_and_agrees_with_the_developers_lock(lock: Path) -> None:
    text = lock.read_text()
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    assert pins
    assert "://" not in text
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(pins)
    ours = re.findall(r"^([a-z0-9-]+)==(\S+)", (REPOSITORY / "requirements" / "dev.txt").read_text(), re.MULTILINE)
    for name, version in pins.items():
        there = {pinned for package, pinned in ours if package == name}
        assert not there or version in there, f"{name}: `make lock` brings the locks together again"
