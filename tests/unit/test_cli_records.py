"""Records are bounded and findable by id; tallies count as DESIGN 7 says."""

from typing import Any

import pytest

from stoker.decisions import RequestRecord
from stoker.model.function import Variant
from stoker.reasons import Outcome, Reason
from stoker_cli.records import Records

pytestmark = pytest.mark.unit


def record(request_id: str, function: str = "default/ocr", **fields: Any) -> RequestRecord:
    return RequestRecord(id=request_id, function=function, arrived_at="", **{"on_time": False, **fields})


def served(request_id: str, *, on_time: bool = True, exec_us: int = 1000, **fields: Any) -> RequestRecord:
    return record(
        request_id, outcome=Outcome.SERVED, on_time=on_time, exec_us=exec_us, variant=Variant.GPU, status=200, **fields
    )


def test_the_newest_are_kept_and_the_oldest_go() -> None:
    records = Records(3)
    for number in range(5):
        records.add(record(f"r-{number}"))
    assert len(records) == 3
    assert [records.get(f"r-{number}") is not None for number in range(5)] == [False, False, True, True, True]


def test_a_repeated_id_names_its_newest_record_and_outlives_the_older_one() -> None:
    records = Records(2)
    records.add(record("same", status=200))
    records.add(record("same", status=429))
    assert records.get("same") is not None
    records.add(record("other"))  # pushes the first `same` out
    newest = records.get("same")
    assert newest is not None
    assert newest.status == 429
    records.add(record("third"))
    assert records.get("same") is None


def test_every_outcome_is_counted_once_and_a_client_that_left_not_at_all() -> None:
    records = Records(100)
    records.track({"default/ocr"})
    records.add(served("1"))
    records.add(served("2", on_time=False, cold=True))
    records.add(record("3", outcome=Outcome.REFUSED, reason=Reason.QUEUE_FULL))
    records.add(record("4", outcome=Outcome.EXPIRED, reason=Reason.TIMEOUT))
    records.add(record("5", outcome=Outcome.FAILED, reason=Reason.REPLICA_FAILED))
    records.add(record("6", outcome=Outcome.UNKNOWN, reason=Reason.REPLICA_FAILED))
    records.add(record("7", outcome=Outcome.FAILED, reason=Reason.CLIENT_GONE, cold=True))
    tally = records.tally("default/ocr")
    assert (tally.offered, tally.on_time, tally.late, tally.refused, tally.expired, tally.failed) == (6, 1, 1, 1, 1, 2)
    assert tally.cold == 2
    assert tally.refusals == {"QueueFull": 1}


def test_a_health_path_is_remembered_but_not_scored() -> None:
    records = Records(100)
    records.track({"default/ocr"})
    records.add(record("1", on_time=None, outcome=Outcome.SERVED, path="/healthz"))
    assert records.get("1") is not None
    assert records.tally("default/ocr").offered == 0


def test_the_median_execution_is_by_variant_and_none_before_the_first() -> None:
    records = Records(100)
    records.track({"default/ocr"})
    assert records.tally("default/ocr").exec_p50_ms(Variant.GPU) is None
    for exec_us in (10_000, 20_000, 90_000):
        records.add(served("r", exec_us=exec_us))
    assert records.tally("default/ocr").exec_p50_ms(Variant.GPU) == 20.0
    assert records.tally("default/ocr").exec_p50_ms(Variant.CPU) is None


def test_unknown_functions_make_no_tally_and_deleted_ones_lose_theirs() -> None:
    records = Records(100)
    records.track({"default/ocr"})
    for number in range(1000):
        records.add(record(f"{number}", function=f"default/guess-{number}", outcome=Outcome.REFUSED))
    assert list(records._tallies) == ["default/ocr"]
    records.add(served("1"))
    records.track({"default/ocr", "default/new"})
    assert records.tally("default/ocr").offered == 1
    records.track({"default/new"})
    assert records.tally("default/ocr").offered == 0
