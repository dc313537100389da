from random import Random

import pytest

from stoker.policies.queueing.flow_ranking import FlowRanking

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("flows", [1, 8, 9, 50, 400])
def test_the_least_is_found_whoever_and_however_many_are_eligible(flows: int) -> None:
    draws = Random(flows)
    names = [f"f{number}" for number in range(flows)]
    ranking = FlowRanking()
    for number, name in enumerate(names):
        ranking.put(name, (draws.randrange(20), number, name))
    for eligible in {0, 1, min(2, flows), flows // 10, flows // 3, flows // 3 + 1, flows // 2, flows}:
        anywhere, last = draws.sample(names, eligible), [name for _, _, name in ranking.heads[flows - eligible :]]
        for among in (frozenset(anywhere), frozenset(last), dict.fromkeys([*last, "not ranked"]).keys()):
            for but in (frozenset[str](), frozenset(draws.sample(names, flows // 4))):
                expected = min((ranking[name] for name in among - but if name in ranking), default=None)
                assert ranking.least(among, but) == expected
