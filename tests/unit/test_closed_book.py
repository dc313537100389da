"""What an agent said with a refusal speaks for those that come next, for a moment (stoker.closed_book, closed_us)."""

import pytest

from stoker.admission import MIN_RETRY_AFTER_US
from stoker.closed_book import ASK_US, HALF_OPEN_US, MOST, RENEW_US, TAKEN, Closed, ClosedBook
from stoker.model.function import Variant
from stoker.policies.queueing.lanes import Lane, Room
from stoker.policies.queueing.registry import make_queueing
from stoker.reasons import Reason
from stoker.slots.forecast import Sight
from stoker.slots.places import UNRESERVED_MIN_US
from stoker.slots.verdict import Verdict, bind, judge
from stoker.testing.builders import make_request
from stoker.turns import Turns
from stoker.wire.agent import CLOSED_MAX_US, Refusal, refuse

pytestmark = pytest.mark.unit

MS = 1_000
LANE = Lane("g0", ("g0",), 1)
FLOW, OTHER = "default/f", "default/g"


def said(closed_us: int) -> Refusal:
    refusal = refuse(Reason.PREDICTED_MISS, "it would end 9 ms after its objective")
    refusal.closed_us = closed_us
    return refusal


def noted(closed_us: int = 9 * MS, objective_us: int = 100 * MS) -> ClosedBook:
    book = ClosedBook()
    book.note("ns/f", Variant.GPU, said(closed_us), objective_us=objective_us, due_us=objective_us, sent_us=0, now_us=0)
    return book


def found(book: ClosedBook, now_us: int, objective_us: int = 100 * MS, key: str = "ns/f") -> bool:
    due_us = now_us + objective_us
    return book.find(key, Variant.GPU, objective_us=objective_us, due_us=due_us, now_us=now_us) is not None


def sent(book: ClosedBook, now_us: int) -> bool:
    """Whether a request that comes now is sent to the agent."""
    due_us = now_us + 100 * MS
    word = book.find("ns/f", Variant.GPU, objective_us=100 * MS, due_us=due_us, now_us=now_us)
    return word is None or word.renews(now_us)


def test_a_word_counts_until_its_time_is_over_and_then_lets_one_at_a_time_through() -> None:
    book = noted()
    assert [sent(book, now_us) for now_us in (0, 8_999, 9_000, 9_001)] == [False, False, True, False]
    assert not sent(book, 9_000 + ASK_US - 1), "one is on its way"
    assert sent(book, 9_000 + ASK_US), "and not heard of for too long"
    assert all(sent(book, HALF_OPEN_US + later_us) for later_us in (0, 1)), "then it is forgotten"


def test_who_is_refused_by_a_word_is_told_when_there_is_room_and_not_the_place_of_the_one_that_heard_it() -> None:
    refusal = said(9 * MS)
    refusal.ticket, refusal.retry_after_ms, refusal.room_us = "a-7", 60_000, 70 * MS
    word, turns = Closed(refusal, 100 * MS, 100 * MS, 0, 0, 9 * MS), Turns()
    told = [word.come_back_us(turns, 10 * MS, now_us) for now_us in (0, 1, 8 * MS)]
    assert told == [70 * MS, 80 * MS, 90 * MS]
    many = [word.come_back_us(turns, 10 * MS, 30 * MS) or 0 for _ in range(UNRESERVED_MIN_US // (5 * MS))]
    assert min(many) == 30 * MS + MIN_RETRY_AFTER_US, "and never sooner than anybody is"
    assert max(many) <= min(many) + UNRESERVED_MIN_US
    refusal.retry_after_ms = None
    assert word.come_back_us(turns, 10 * MS, 0) is None


def test_a_word_counts_for_its_function_and_variant_only() -> None:
    book = noted()
    assert not found(book, 1, key="ns/g")
    assert book.find("ns/f", Variant.CPU, objective_us=100 * MS, due_us=100 * MS + 1, now_us=1) is None


def test_a_request_that_may_take_longer_is_for_the_agent_to_judge() -> None:
    assert not found(noted(), 1, objective_us=100 * MS + 1)


def test_a_request_that_would_stand_further_ahead_is_for_the_agent_to_judge() -> None:
    book = noted()
    assert not found(book, 1 * MS, objective_us=98 * MS)
    assert found(book, 3 * MS, objective_us=98 * MS), "it is due later than the one that was refused"


def test_no_word_counts_for_longer_than_the_bound() -> None:
    book = noted(closed_us=10 * CLOSED_MAX_US)
    assert found(book, CLOSED_MAX_US - 1)
    assert not found(book, CLOSED_MAX_US)


def test_a_long_word_is_renewed_once_before_it_ends_and_a_short_one_never() -> None:
    def word(closed_us: int) -> Closed:
        book = noted(closed_us=closed_us)
        found = book.find("ns/f", Variant.GPU, objective_us=100 * MS, due_us=100 * MS, now_us=0)
        assert found is not None
        return found

    long = word(2 * CLOSED_MAX_US)
    times = (0, CLOSED_MAX_US - RENEW_US - 1, CLOSED_MAX_US - RENEW_US, CLOSED_MAX_US - 1)
    assert [long.renews(now_us) for now_us in times] == [False, False, True, False]
    short = word(2 * RENEW_US - 1)
    assert not any(short.renews(now_us) for now_us in range(0, 2 * RENEW_US, MS))


def test_a_word_that_was_long_under_way_counts_from_when_it_was_heard() -> None:
    for closed_us, until_us in ((900 * MS, CLOSED_MAX_US), (8 * MS, 8 * MS)):
        book = ClosedBook()
        book.note(
            "ns/f", Variant.GPU, said(closed_us), objective_us=100 * MS, due_us=100 * MS, sent_us=0, now_us=50 * MS
        )
        assert found(book, 50 * MS + until_us - 1)
        assert sent(book, 50 * MS + until_us)


def test_the_next_refusal_ends_a_word() -> None:
    book = noted()
    book.note("ns/f", Variant.GPU, said(0), objective_us=1, due_us=1, sent_us=1, now_us=1)
    assert not len(book)


def test_an_admission_lets_the_next_one_through_and_some_in_a_row_all() -> None:
    book = noted()
    for _ in range(TAKEN - 1):
        book.reopen("ns/f", Variant.GPU)
        assert [sent(book, 1), sent(book, 2)] == [True, False]
    book.reopen("ns/f", Variant.GPU)
    assert [sent(book, 3), sent(book, 3)] == [True, True]


def test_a_new_account_of_the_agent_lets_one_through_at_once() -> None:
    book = noted()
    book.clear()
    assert [sent(book, 1), sent(book, 2)] == [True, False]


def test_the_book_is_bounded() -> None:
    book = ClosedBook()
    for number in range(MOST + 10):
        book.note(f"ns/{number}", Variant.GPU, said(9 * MS), objective_us=MS, due_us=MS, sent_us=0, now_us=0)
    assert len(book) == MOST
    assert found(book, 1, objective_us=MS, key=f"ns/{MOST + 9}")
    assert not found(book, 1, objective_us=MS, key="ns/0"), "the oldest is dropped"


def closed_us(
    *, busy_us: int, limit_us: int | None = None, queued_us: int = 0, due_us: int = 100 * MS, **more: object
) -> int:
    """What a refusal says of others: of a request of 10 ms that may take 100 ms, at a slot that is busy for a while.
    `queued_us`, `due_us`: one that is queued before it.
    """
    policy = make_queueing("least-slack")
    policy.arrange(dict.fromkeys((FLOW, OTHER), LANE))

    def ask(name: str, exec_us: int, objective_us: int, sight: Sight) -> Verdict:
        request = make_request(name, flow=FLOW, arrival_us=0, objective_us=objective_us, timeout_us=10_000 * MS)
        request.predicted_exec_us = exec_us
        verdict = judge(request, sight, policy=policy, accepting=True)
        if verdict.refusal is None:
            bind(request, verdict)
            policy.push(request)
        return verdict

    if queued_us:
        assert ask("before", queued_us, due_us, Sight(rooms=((LANE, Room(1, (busy_us,))),))).refusal is None
    found: dict[str, object] = {"rooms": ((LANE, Room(1, (busy_us,))),), "limit_us": limit_us}
    refusal = ask("r", 10 * MS, 100 * MS, Sight(**found | more)).refusal  # type: ignore[arg-type]
    assert refusal is not None
    return refusal.closed_us


def test_a_request_that_would_be_late_speaks_for_others_until_the_excess_is_worked_off() -> None:
    assert closed_us(busy_us=95 * MS) == 5 * MS
    assert closed_us(busy_us=200 * MS) == 110 * MS


def test_a_margin_is_worked_off_with_what_it_is_a_part_of() -> None:
    # It would end after 105 ms, and with its margin of a tenth after 115.5.
    assert closed_us(busy_us=95 * MS, margin_ppm=100_000) == 15_500 * 10 // 11


def test_a_function_that_may_be_tried_is_asked_about_again_when_a_slot_comes_free() -> None:
    assert closed_us(busy_us=98 * MS, explores=True) == 8 * MS
    lanes = ((LANE, Room(1, (200 * MS,))), (Lane("g0", ("g0", "g1"), 2), Room(2, (3 * MS, 200 * MS))))
    assert closed_us(busy_us=0, rooms=lanes, explores=True) == 3 * MS


def test_a_function_over_its_share_speaks_for_others_until_the_first_run_ends() -> None:
    assert closed_us(busy_us=4 * MS, queued_us=20 * MS, limit_us=25 * MS) == 4 * MS


def test_a_request_that_would_break_promises_says_nothing_of_others() -> None:
    assert closed_us(busy_us=85 * MS, queued_us=10 * MS, due_us=102 * MS) == 0


def test_a_policy_without_a_schedule_says_nothing_of_others() -> None:
    request = make_request("r", flow=FLOW, arrival_us=0, objective_us=1 * MS, timeout_us=10 * MS)
    request.predicted_exec_us = 10 * MS
    sight = Sight(servers=1, remaining_us=(50 * MS,), flows=frozenset((FLOW,)))
    refusal = judge(request, sight, policy=make_queueing("mqfq-sticky"), accepting=True).refusal
    assert refusal is not None
    assert refusal.closed_us == 0
