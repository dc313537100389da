import pytest

from stoker.errors import UnknownName
from stoker.policies.eviction.registry import make_eviction
from stoker.policies.queueing.interface import QueueParams
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker_sim.scenario import PolicyChoice
from stoker_sim.study.settings import ABLATIONS, BUDGET, EVICTIONS, OURS, published, settings_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_has_no_more_settings_than_the_budget_and_each_can_be_made(name: str) -> None:
    settings = settings_of(name)
    assert len(settings) <= BUDGET
    assert len({choice.label for choice in settings}) == len(settings)
    for choice in settings:
        assert choice.queueing == name
        make_queueing(name, QueueParams(tuning=choice.tuning))
        make_eviction(choice.eviction or "")


@pytest.mark.parametrize("name", published())
def test_every_published_policy_is_tried_as_published_and_with_the_same_choices_beside(name: str) -> None:
    beside = {(choice.serve_late, choice.eviction) for choice in settings_of(name)}
    assert beside == {(False, EVICTIONS[0]), *((True, eviction) for eviction in EVICTIONS)}
    for late, eviction in beside:
        assert PolicyChoice(queueing=name, serve_late=late, eviction=eviction) in settings_of(name)


def test_ours_is_no_rival_of_itself() -> None:
    assert OURS not in published()
    assert set(published()) == set(POLICIES) - {OURS}


def test_an_unknown_policy_has_no_settings() -> None:
    with pytest.raises(UnknownName, match="no queueing policy is named 'lifo'"):
        settings_of("lifo")


def test_an_ablation_changes_its_part_and_nothing_else() -> None:
    whole = PolicyChoice(queueing="mqfq", tuning={"overrunUs": 7}, eviction="greedy-dual")
    names = [ablation.name for ablation in ABLATIONS]
    assert len(set(names)) == len(names)
    for ablation in ABLATIONS:
        without = ablation.applied(whole)
        assert (without.name, without.queueing) == (ablation.name, "mqfq")
        assert without.tuning == {"overrunUs": 7, **ablation.tuning}
        assert without.serve_late is (True if ablation.serve_late is None else ablation.serve_late)
        assert without.eviction == (ablation.eviction or "greedy-dual")
