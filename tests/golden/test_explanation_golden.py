"""The texts of `stoker explain`, one file for each life of a request. STOKER_GOLDEN=1 rewrites them."""

from pathlib import Path

import pytest
from settings_of_tests import GOLDEN

from stoker.decisions import RequestRecord, Step
from stoker.explanation import explain
from stoker.reasons import Outcome, Reason
from stoker.testing.builders import MS, S, make_record

pytestmark = pytest.mark.golden

FILES = Path(__file__).parent / "files"
GPU = "A100-40GB/sim-0 (simulated)"

RECORDS: dict[str, RequestRecord] = {
    "served-on-time": make_record(
        on_time=True,
        device=GPU,
        queue_us=2_300,
        exec_us=179 * MS,
        steps=[
            Step(0, "arrived"),
            Step(900, "sent to the agent, warm replica predicted to end after 190 ms"),
            Step(3_200, "dispatched to default/ocr-0123456789-0"),
            Step(182 * MS, "answered 200"),
        ],
    ),
    "served-late": make_record(
        on_time=False,
        device=GPU,
        total_us=400 * MS,
        queue_us=220 * MS,
        exec_us=179 * MS,
        steps=[Step(0, "arrived"), Step(221 * MS, "dispatched, late"), Step(400 * MS, "answered 200")],
    ),
    "served-cold": make_record(
        on_time=False,
        cold=True,
        device=GPU,
        total_us=8_200 * MS,
        objective_us=60 * S,
        start_us=8 * S,
        queue_us=1 * MS,
        exec_us=190 * MS,
        steps=[
            Step(0, "arrived; no warm replica, held"),
            Step(8 * S, "released: default/ocr-0123456789-0 is ready"),
            Step(8_200 * MS, "answered 200"),
        ],
    ),
    "served-diverted": make_record(on_time=True, device="cpu", diverted=True, total_us=240 * MS, exec_us=230 * MS),
    "refused-predicted-miss": make_record(
        Outcome.REFUSED,
        Reason.PREDICTED_MISS,
        status=429,
        total_us=2 * MS,
        predicted_finish_us=410 * MS,
        estimated=True,
        retry_after_ms=161,
        detail="12 requests are queued before it",
        steps=[Step(0, "arrived"), Step(2 * MS, "refused")],
    ),
    "refused-queue-full": make_record(
        Outcome.REFUSED,
        Reason.QUEUE_FULL,
        status=429,
        total_us=300,
        retry_after_ms=1_200,
        detail="1000 of 1000 requests wait",
    ),
    "refused-no-fitting-device": make_record(
        Outcome.REFUSED, Reason.NO_FITTING_DEVICE, status=503, detail="it asks for 80 GiB; the largest GPU has 40 GiB"
    ),
    "expired-while-held": make_record(
        Outcome.EXPIRED,
        Reason.TIMEOUT,
        status=504,
        cold=True,
        total_us=60 * S + 4 * MS,
        start_us=60 * S,
        steps=[Step(0, "arrived; no warm replica, held"), Step(60 * S, "timeout")],
    ),
    "failed-replica": make_record(
        Outcome.FAILED,
        Reason.REPLICA_FAILED,
        status=502,
        total_us=90 * MS,
        device=GPU,
        exec_us=80 * MS,
        detail="exit code 137",
    ),
    "outcome-unknown": make_record(Outcome.UNKNOWN, Reason.REPLICA_FAILED, status=502, total_us=90 * MS, device=GPU),
    "not-ended": make_record(None, total_us=None, status=0, cold=True, steps=[Step(0, "arrived"), Step(40, "held")]),
}


@pytest.mark.parametrize("name", RECORDS)
def test_the_explanation_is_as_recorded(name: str) -> None:
    path = FILES / f"explain-{name}.txt"
    text = explain(RECORDS[name]) + "\n"
    if GOLDEN:
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} is out of date: look at the difference, then make golden"


def test_every_recorded_explanation_has_its_record() -> None:
    assert {path.name for path in FILES.glob("explain-*")} <= {f"explain-{name}.txt" for name in RECORDS}
