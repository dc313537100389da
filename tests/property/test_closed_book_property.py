"""A gateway's book of what an agent said never refuses after its time, and never grows without bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.closed_book import MOST, ClosedBook
from stoker.model.function import Variant
from stoker.reasons import Reason
from stoker.wire.agent import CLOSED_MAX_US, Refusal, refuse

pytestmark = pytest.mark.property

KEYS = st.sampled_from(("ns/f", "ns/g"))
OBJECTIVES = st.integers(1_000, 50_000)
WAITS = st.integers(0, 30_000)
ACTS = st.one_of(
    st.tuples(st.just("note"), KEYS, OBJECTIVES, WAITS, st.integers(-5, 60_000)),
    st.tuples(st.sampled_from(("ask", "reopen", "clear")), KEYS, OBJECTIVES, WAITS, st.just(0)),
)


def said(closed_us: int) -> Refusal:
    refusal = refuse(Reason.OVER_SHARE, "its function has queued what its share can do in time")
    refusal.closed_us = closed_us
    return refusal


@given(st.lists(ACTS, max_size=60))
def test_a_word_refuses_only_within_its_time_and_only_those_that_it_speaks_for(
    acts: list[tuple[str, str, int, int, int]],
) -> None:
    book, last, now_us = ClosedBook(), dict[str, tuple[int, int, int]](), 0
    for act, key, objective_us, wait_us, closed_us in acts:
        sent_us = now_us
        now_us += wait_us
        due_us = now_us + objective_us
        if act == "note":
            book.note(
                key,
                Variant.GPU,
                said(closed_us),
                objective_us=objective_us,
                due_us=sent_us + objective_us,
                sent_us=sent_us,
                now_us=now_us,
            )
            last[key] = sent_us, now_us, objective_us
        elif act == "reopen":
            book.reopen(key, Variant.GPU)
        elif act == "clear":
            book.clear()
        elif book.find(key, Variant.GPU, objective_us=objective_us, due_us=due_us, now_us=now_us) is not None:
            sent_us, heard_us, longest_us = last[key]
            assert now_us - heard_us < CLOSED_MAX_US
            assert objective_us <= longest_us
            assert due_us >= sent_us + longest_us
        assert len(book) <= 2


@given(st.integers(1, 3 * MOST))
def test_the_book_keeps_no_more_words_than_its_bound(words: int) -> None:
    book = ClosedBook()
    for number in range(words):
        book.note(str(number), Variant.GPU, said(1), objective_us=1, due_us=1, sent_us=0, now_us=0)
    assert len(book) == min(words, MOST)
