from pathlib import Path

import pytest
import study_outcomes
from msgspec.structs import replace

from stoker_sim.scenario import PolicyChoice
from stoker_sim.study import frozen
from stoker_sim.study.families import FAMILIES
from stoker_sim.study.family import described
from stoker_sim.study.frozen import Frozen, NotFrozen, Opening, after, check, definitions, froze, read, write
from stoker_sim.study.settings import ABLATIONS, OURS
from stoker_sim.study.tuning import Tuned

pytestmark = pytest.mark.unit

FAMILY = "bursts"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "described", lambda family, _: f"{family.name} {family.points}".encode())
    monkeypatch.setattr(frozen, "behaviour", lambda _: "as it is")


def a_frozen(**changes: object) -> Frozen:
    return replace(study_outcomes.a_frozen((FAMILY,)), **{"definitions": definitions((FAMILY,)), **changes})


def test_what_was_frozen_may_be_opened_once() -> None:
    check(a_frozen(), again=False)
    opened = a_frozen(opened=(Opening("2026-12-01", "the one test"),))
    with pytest.raises(NotFrozen, match=r"opened before \(2026-12-01\)"):
        check(opened, again=False)
    check(opened, again=True)


def test_the_test_half_stays_shut_when_definitions_or_policies_are_others_than_when_frozen() -> None:
    with pytest.raises(NotFrozen, match="families, settings or ablations are not what was frozen"):
        check(a_frozen(definitions="0" * 32), again=False)
    with pytest.raises(NotFrozen, match="a policy does something else"):
        check(a_frozen(behaviour="as it was"), again=False)


def test_the_digest_follows_the_families_and_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = definitions((FAMILY,))
    assert definitions((FAMILY,)) == before
    monkeypatch.setattr(frozen, "described", lambda *_: b"others")
    other = definitions((FAMILY,))
    monkeypatch.setattr(frozen, "settings_of", lambda name: (PolicyChoice(queueing=name),))
    assert len({before, other, definitions((FAMILY,))}) == 3


def test_the_description_of_a_family_follows_its_loads_and_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES[FAMILY]
    one_point = replace(family, points=family.points[:1])
    before = described(one_point, 1)
    assert described(replace(family, points=(replace(family.points[0], load=0.8),)), 1) != before
    monkeypatch.setattr("stoker_sim.study.family.MOST", 3_999)
    assert described(one_point, 1) != before


def test_a_family_is_judged_with_ours_its_rival_and_ours_without_each_part() -> None:
    made = a_frozen()
    assert [choice.label for choice in made.choices(FAMILY)] == [OURS, "sjf", *(a.name for a in ABLATIONS)]
    everybody = made.choices(FAMILY, everybody=True)
    assert [choice.label for choice in everybody][:3] == [OURS, "sjf", "edf"]
    assert [choice.serve_late for choice in everybody][:3] == [True, True, False]


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "frozen.json"
    with pytest.raises(NotFrozen, match=r"there is no frozen\.json; tune, then freeze"):
        read(path)
    write(a_frozen(opened=(Opening("2026-12-01", "the one test"),)), path)
    assert read(path) == a_frozen(opened=(Opening("2026-12-01", "the one test"),))


def test_freezing_again_does_not_shut_what_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "frozen.json"
    assert after(a_frozen(), path).opened == ()
    write(a_frozen(opened=(Opening("2026-12-01", "the one test"),)), path)
    with pytest.raises(NotFrozen, match="opened before"):
        check(after(a_frozen(), path), again=False)


def test_nothing_is_frozen_before_every_policy_was_tuned() -> None:
    with pytest.raises(NotFrozen, match="these were not tuned"):
        froze([Tuned(family=FAMILY, policy="sjf", rows=())])


def test_of_two_that_come_out_the_same_the_rival_is_the_one_with_its_published_constants() -> None:
    labelled = {
        "paella-srpt threshold 250": PolicyChoice(queueing="paella-srpt", tuning={"threshold": 250}),
        "sjf": PolicyChoice(queueing="sjf"),
        "edf": PolicyChoice(queueing="edf"),
    }
    theirs = {"paella-srpt": ("paella-srpt threshold 250", 0.7), "sjf": ("sjf", 0.7), "edf": ("edf", 0.6)}
    assert frozen._rival(theirs, labelled) == "sjf"
    assert frozen._rival({**theirs, "edf": ("edf", 0.8)}, labelled) == "edf"
