"""An operator that never hears the answer to one of its writes: it looks what has become of it."""

import pytest
from operator_in_cluster import OperatorInCluster
from operator_write_faults import try_every_write

pytest_plugins = ("api_server", "operator_server")
pytestmark = [pytest.mark.contract, pytest.mark.timeout(170)]


async def test_whichever_answer_is_lost_nothing_is_done_twice(
    world: OperatorInCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = await try_every_write(world, monkeypatch, dies=False)
    assert {what.split()[0] for what in tried} == {"POST", "PATCH", "DELETE"}
    assert len(tried) >= 10
