"""An operator that dies between any two of its writes: the next one goes on from what is there."""

import pytest
from operator_in_cluster import OperatorInCluster
from operator_write_faults import try_every_write

pytest_plugins = ("api_server", "operator_server")
pytestmark = [pytest.mark.contract, pytest.mark.timeout(170)]


async def test_whichever_write_is_the_last_the_next_leader_goes_on(
    world: OperatorInCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = await try_every_write(world, monkeypatch, dies=True)
    assert {what.split()[0] for what in tried} == {"POST", "PATCH", "DELETE"}
    assert len(tried) >= 10
