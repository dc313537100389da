"""Rules of the house that no linter knows (docs/adr/0001, CONTRIBUTING)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
CODE = ("core", "node", "gateway", "operator", "scheduler", "sim", "cli", "examples", "tests", "bench", "dev")


def modules() -> list[Path]:
    return [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]


def test_the_standard_library_stays_itself_at_the_root() -> None:
    # A package named like a module of the standard library (operator/) would shadow it for every process started here.
    subprocess.run([sys.executable, "-c", "import operator, collections"], cwd=ROOT, check=True, timeout=5)
    packages = [path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    loose = [path.stem for path in ROOT.glob("*.py")]
    assert [name for name in packages + loose if name in sys.stdlib_module_names] == []


def test_tests_are_no_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_module_exceeds_400_lines_and_no_test_file_500() -> None:
    ceilings = {path: 500 if path.is_relative_to(ROOT / "tests") else 400 for path in modules()}
    sizes = {path: len(path.read_text().splitlines()) for path in modules()}
    assert {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > ceilings[path]} == {}


def test_handlers_of_the_real_functions_stay_under_60_lines() -> None:
    handlers = sorted((ROOT / "examples").glob("*/handler.py"))
    assert len(handlers) >= 2
    assert {path.parent.name: n for path in handlers if (n := len(path.read_text().splitlines())) >= 60} == {}


def test_modules_of_the_product_say_what_they_are_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.relative_to(ROOT).parts[0] not in ("tests", "bench")
        and not path.read_text().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_names_say_what_a_module_does() -> None:
    vague = {"utils", "util", "helpers", "common", "manager", "misc"}
    assert [path.name for path in modules() if path.stem in vague] == []


def test_the_readme_is_short_and_names_its_two_commands_first() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 150
    assert re.findall(r"^make \w+", text, re.MULTILINE)[:2] == ["make demo", "make test"]


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd ", "export STOKER_"))]
    assert commands == ["make test"]
    assert "make test" in (ROOT / "README.md").read_text()


def test_the_readme_names_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
        for target in re.findall(r"(?:^|`)make ([a-z0-9]+)", document.read_text(), re.MULTILINE)
    }
    assert named - targets == set()


def test_every_target_is_explained_by_make_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    targets = {target for line in phony for target in line.split()}
    assert targets == set(re.findall(r"^([-a-z0-9]+):.*## \S", makefile, re.MULTILINE))


def test_requirements_name_no_address_and_pin_every_package_by_hash() -> None:
    for path in (path for path in (ROOT / "requirements").rglob("*") if path.is_file()):
        assert "://" not in path.read_text(), f"{path.name} names an address"
        assert "index-url" not in path.read_text(), f"{path.name} names an index"
    lock = (ROOT / "requirements/dev.txt").read_text()
    entries = re.findall(r"^[a-z0-9][^\n]*==[^\n]*(?:\n    --hash[^\n]*)*", lock, re.MULTILINE)
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    dead = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in documents
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / link).exists()
    ]
    assert dead == []
