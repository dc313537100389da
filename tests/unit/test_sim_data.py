"""The data of others that is in the package: small, attributed, with every licence text that it needs."""

import gzip
import re

import pytest

from stoker_sim.traces.files import DATA

pytestmark = pytest.mark.unit

FILES = sorted(path for path in DATA.rglob("*") if path.is_file())
NAMES = [path.relative_to(DATA).as_posix() for path in FILES]
TEXT = (DATA / "ATTRIBUTION.md").read_text()
ROWS = [line for line in TEXT.splitlines() if line.startswith("| `")]


def test_all_of_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 2_500_000


def test_every_file_is_attributed_once_and_every_attributed_file_is_there() -> None:
    attributed = [name for row in ROWS for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    data = [name for name in NAMES if name.endswith((".csv", ".csv.gz"))]
    assert sorted(attributed) == data
    assert set(NAMES) - set(data) == {"ATTRIBUTION.md"} | {name for name in NAMES if name.startswith("LICENSES/")}


def test_every_row_names_a_source_an_author_and_a_licence_whose_text_is_there() -> None:
    for row in ROWS:
        _, _, source, author, licence, _, _ = row.split("|")
        assert "https://github.com/" in source
        assert author.strip()
        texts = re.findall(r"`(LICENSES/[^`]+)`", licence)
        assert texts
        assert set(texts) <= set(NAMES)
    cited = set(re.findall(r"`(LICENSES/[^`]+)`", TEXT))
    assert {name for name in NAMES if name.startswith("LICENSES/")} == cited


def test_a_creative_commons_row_links_its_licence_and_says_what_was_changed() -> None:
    rows = [row for row in ROWS if "CC-BY-4.0" in row]
    assert len(rows) == 3
    for row in rows:
        assert "https://creativecommons.org/licenses/by/4.0/" in row
        assert row.split("|")[5].strip()
    assert "Changes made to all of them" in TEXT
    assert "none of those named here endorses" in TEXT


def test_licence_texts_are_whole() -> None:
    for name in NAMES:
        if not name.startswith("LICENSES/") or name.endswith("NOTICES.txt"):
            continue
        text = (DATA / name).read_text()
        if name.startswith("LICENSES/MIT"):
            assert "Copyright (c)" in text
            assert "WITHOUT WARRANTY OF ANY KIND" in text
        elif name.startswith("LICENSES/BSD"):
            assert "Copyright (c)" in text
            assert "Redistribution" in text
        else:
            assert len(text) > 10_000


def test_rows_with_a_licence_of_their_own_have_one_that_is_here() -> None:
    nvidia = gzip.decompress((DATA / "profiles/nvidia_dle_inference_latency.csv.gz").read_bytes()).decode()
    assert {line.rsplit(",", 2)[-2] for line in nvidia.splitlines()[1:]} == {"Apache-2.0"}
    cold = (DATA / "profiles/cold_start_seconds.csv").read_text().splitlines()[1:]
    assert {line.rsplit(",", 2)[-2] for line in cold} == {"MIT", "Apache-2.0", "derived statistics only"}
