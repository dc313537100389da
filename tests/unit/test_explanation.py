import pytest

from stoker.decisions import RequestRecord, Step
from stoker.explanation import explain
from stoker.reasons import HTTP_STATUS, DeviceReason, Outcome, Reason
from stoker.testing.builders import MS, S, make_record

pytestmark = pytest.mark.unit


COLD_AND_LATE = (
    "Served late after a cold start: 12 s, 2 s more than a cold one may take."
    " It counts as a miss of slo.latency (1 ms)."
)


@pytest.mark.parametrize("reason", HTTP_STATUS)
def test_each_reason_that_a_request_can_end_with_has_its_words(reason: Reason) -> None:
    text = explain(make_record(Outcome.REFUSED, reason, status=HTTP_STATUS[reason]))
    headline = text.splitlines()[1]
    assert headline.startswith(f"Refused ({HTTP_STATUS[reason]} {reason}): ")
    assert headline != f"Refused ({HTTP_STATUS[reason]} {reason}): {reason}."


def test_a_reason_of_a_function_is_shown_as_it_is() -> None:
    assert "Refused (503 CrashLoop): CrashLoop." in explain(make_record(Outcome.REFUSED, Reason.CRASH_LOOP, status=503))


def test_a_record_without_reason_or_status_says_so() -> None:
    text = explain(make_record(Outcome.FAILED, None, status=0, total_us=None))
    assert text.splitlines()[1] == "Failed: no reason was recorded."


@pytest.mark.parametrize(
    ("record", "want"),
    [
        (make_record(on_time=True), "Served on time: 182 ms of the 250 ms allowed by slo.latency."),
        (
            make_record(on_time=False, total_us=300 * MS),
            "Served late: 300 ms, 50 ms over the 250 ms allowed by slo.latency.",
        ),
        (make_record(on_time=False, total_us=200 * MS), "Served late: 200 ms in all."),
        (make_record(on_time=None), "Served in 182 ms."),
        (make_record(on_time=True, total_us=None), "Served."),
        (make_record(cold=True, total_us=None), "Served after a cold start."),
        (
            make_record(on_time=True, cold=True, device="cpu"),
            "Served on time after a cold start on cpu: 182 ms of the 250 ms allowed by slo.latency.",
        ),
        (
            make_record(on_time=False, cold=True, total_us=12 * S, objective_us=10 * S, latency_us=MS),
            COLD_AND_LATE,
        ),
    ],
)
def test_the_headline_of_a_served_request_says_how_it_stands_to_its_objective(record: object, want: str) -> None:
    assert explain(record).splitlines()[1] == want  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("phases", "want"),
    [
        ({"exec_us": 5, "queue_us": 5}, "while it ran"),
        ({"queue_us": 5, "start_us": 5}, "while it was queued for a busy replica"),
        ({"cold": True}, "while it waited for a replica to start"),
        ({}, "before it ran"),
    ],
)
def test_an_expired_request_says_what_it_was_waiting_for(phases: dict[str, int], want: str) -> None:
    text = explain(make_record(Outcome.EXPIRED, Reason.TIMEOUT, status=504, total_us=60 * S, **phases))  # type: ignore[arg-type]
    assert text.splitlines()[1] == f"Expired after 60 s (504 Timeout): its timeout passed {want}."


def test_a_request_that_expired_after_its_dispatch_ran_though_no_times_of_it_are_known() -> None:
    record = make_record(Outcome.EXPIRED, Reason.TIMEOUT, status=504, total_us=60 * S)
    record.dispatched = True
    assert "its timeout passed while it ran." in explain(record)


def test_the_timeline_is_in_order_of_time_whatever_the_order_of_the_steps() -> None:
    text = explain(make_record(steps=[Step(20 * MS, "second"), Step(3, "first"), Step(20 * MS, "third")]))
    assert text.splitlines()[-3:] == ["   +3 us  first", "  +20 ms  second", "  +20 ms  third"]


def test_a_refusal_ends_with_when_to_try_again_and_what_to_change() -> None:
    text = explain(make_record(Outcome.REFUSED, Reason.QUEUE_FULL, status=429, retry_after_ms=2_000))
    assert text.splitlines()[-1] == (
        "Hint: try again in 2 s; or raise scaling.maxReplicas, or queue.maxRequests if clients can wait longer."
    )
    text = explain(make_record(Outcome.REFUSED, Reason.DRAINING, status=503, retry_after_ms=500))
    assert text.splitlines()[-1] == (
        "Hint: try again in 500 ms; or send it to another gateway, or when the platform is back."
    )
    assert "Hint" not in explain(make_record(Outcome.REFUSED, Reason.MALFORMED_REQUEST, status=400))


def test_what_a_client_or_replica_wrote_cannot_steer_a_terminal_or_forge_a_line() -> None:
    evil = "/a\x1b[2J\nServed on time\u202e"
    text = explain(make_record(path=evil, detail=evil, device=evil, steps=[Step(0, evil)]))
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "Served on time" not in [line.strip() for line in text.splitlines()]
    assert r"/a\x1b[2J\nServed on time\u202e" in text


def test_a_very_long_foreign_text_is_cut() -> None:
    assert len(explain(make_record(path="/" + "a" * 100_000))) < 1_000


def test_what_was_promised_stands_beside_what_became_of_it() -> None:
    record = make_record(on_time=True)
    record.promise = "predicted=35.200, latest=52.000"
    assert "Promised at the agent: an end after 35.2 ms, with the margin of its percentile after 52 ms." in explain(
        record
    )
    record.on_time = False
    assert "after 52 ms. It was not kept." in explain(record)
    record.promise = "predicted=soon"
    assert "Promised" not in explain(record)
    record.promise = "predicted=35.200, latest=52.000, estimated"
    assert "Estimated at the agent, and guarded by no schedule: an end after 35.2 ms," in explain(record)


def test_a_served_request_without_a_promise_says_why() -> None:
    record = make_record(on_time=True)
    assert "Nothing was promised of it: it was taken to learn how long it takes, or by a policy" in explain(record)
    record.device_reason = DeviceReason.SERVED_LATE
    assert "Nothing was promised of it: it was predicted to miss its objective, and late requests" in explain(record)
    record.ticket = "honoured"
    assert "Nothing was promised of it: it had a place, kept by its ticket." in explain(record)
    assert "Nothing was promised of it: it waited for a start." in explain(make_record(on_time=True, cold=True))
    assert "promised" not in explain(make_record(on_time=None)), "paths that are not scored promise nothing"


def miss(**fields: object) -> RequestRecord:
    return make_record(Outcome.REFUSED, Reason.PREDICTED_MISS, status=429, **fields)  # type: ignore[arg-type]


def test_a_predicted_end_within_the_objective_says_that_the_margin_is_missing() -> None:
    text = explain(miss(predicted_finish_us=247 * MS))
    assert "It would have ended after 247 ms, or later by the margin for its percentile; its objective was 250" in text
    assert "margin" not in explain(miss(predicted_finish_us=251 * MS))
    assert "margin" not in explain(miss(predicted_finish_us=247 * MS, estimated=True))


def test_a_miss_by_a_start_is_held_against_what_a_cold_request_may_take_and_its_hint_is_about_starts() -> None:
    text = explain(miss(predicted_finish_us=10 * S, objective_us=5 * S, estimated=True))
    assert "(an estimate from means); a cold one may take 5 s." in text
    assert "keep a replica warm (scaling.minReplicas" in text
    assert "add a cpuVariant" not in text


def test_the_hint_of_a_refusal_names_its_ticket_and_how_long_it_is_good() -> None:
    record = miss(retry_after_ms=61)
    assert "Hint: try again in 61 ms; or" in explain(record)
    record.ticket_window_ms = 1000
    assert (
        "Hint: try again in 61 ms with its ticket (Stoker-Ticket), for which a place is kept from then on for 1 s"
        in (explain(record))
    )


def test_a_detail_is_shown_as_a_sentence() -> None:
    assert (
        "Detail: It would end 3 ms after its objective.\n"
        in explain(miss(detail="it would end 3 ms after its objective")) + "\n"
    )
    assert "Detail: Full.\n" in explain(miss(detail="Full.")) + "\n"


def test_a_request_under_way_says_for_how_long_and_where_it_is() -> None:
    record = make_record(None, total_us=1200 * MS, cold=True, start_us=0)
    assert explain(record).splitlines()[1] == "Not ended yet after 1.2 s: it waits for a replica to start."
    record.start_us = 5
    assert "it waits in a queue, or its body is on its way." in explain(record)
    record.dispatched = True
    assert "a replica runs it." in explain(record)


@pytest.mark.parametrize("why", DeviceReason)
def test_each_reason_for_a_device_can_be_told(why: DeviceReason) -> None:
    record = make_record(on_time=True, device="cpu", diverted=True)
    record.device_reason = why
    assert "diverted to the CPU variant" in explain(record)
