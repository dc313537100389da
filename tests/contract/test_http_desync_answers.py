"""Every hostile answer of the catalogue from a replica behind a real agent and a real gateway.

The client gets one well-formed answer (the replica's in normal form, or the platform's 502), or its connection is cut.
The next request is answered for itself, whatever the replica wrote behind its answer.
"""

from collections.abc import AsyncIterator

import msgspec
import pytest
from desync_answers import ANSWERS, POISON, AnswerForm
from desync_rig import DesyncRig, is_ours
from strict_http import Stream, read_answers

from stoker.reasons import Reason
from stoker.wire.agent import Refusal

pytestmark = [pytest.mark.contract, pytest.mark.timeout(120)]


@pytest.fixture
async def rig() -> AsyncIterator[DesyncRig]:
    one = await DesyncRig().start()
    yield one
    await one.close()


def faults(form: AnswerForm, first: Stream, following: Stream) -> tuple[list[str], bool]:
    """What is wrong, and whether the replica's answer went through."""
    found: list[str] = []
    passed = False
    strict = read_answers(form.data, [form.method], closed=form.closes)
    if first.problem and not first.incomplete:
        found.append(f"the client's answer is not well-formed: {first.problem}")
    for answer in first.messages:
        if is_ours(answer):
            reason = msgspec.json.decode(answer.body, type=Refusal).reason if answer.body else Reason.BAD_REPLICA_ANSWER
            if answer.status != 502 or reason not in (Reason.BAD_REPLICA_ANSWER, Reason.REPLICA_FAILED):
                found.append(f"answered with {answer.status} {reason}")
            continue
        passed = True
        wanted = [(message.status, message.body) for message in strict.messages]
        if (answer.status, answer.body) not in wanted and not form.tolerated:
            found.append(f"the client read {answer.status} {answer.body!r}, a strict reader {wanted} {strict.problem}")
        if b"POISON" in answer.body or answer.all(b"x-poison"):
            found.append("the client read the poison")
        found += [f"the client was sent {name!r}" for name, _ in answer.fields if name in _HOP]
    if strict.messages and not passed and not first.messages and not first.incomplete:
        found.append("a good answer was cut")
    seen = [(answer.status, answer.get(b"x-seen"), answer.body) for answer in following.messages]
    if following.problem or seen != [(200, b"GET /sentinel", b"seen")]:
        found.append(f"the next request read {seen} {following.problem}")
    return found, passed


_HOP = frozenset(
    (b"keep-alive", b"trailer", b"upgrade", b"x-hop", b"x-a", b"x-b", b"stoker_dispatched", b"stoker_outcome")
)


def test_the_catalogue_holds_at_least_60_answers_and_each_once() -> None:
    assert len(ANSWERS) >= 60
    assert len({(form.data, form.method) for form in ANSWERS}) == len({form.name for form in ANSWERS}) == len(ANSWERS)
    assert all(form.data.count(b"POISON") % 2 == 0 or POISON not in form.data for form in ANSWERS)


async def test_every_answer_is_well_formed_for_the_client_or_cut(
    rig: DesyncRig, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: list[str] = []
    passed = 0
    for form in ANSWERS:
        first, following = await rig.attack(form.method, form.data, closes=form.closes)
        found, went = faults(form, first, following)
        passed += went
        wrong += [f"{form.name}: {fault}" for fault in found]
    with capsys.disabled():
        total = len(ANSWERS)
        print(f"\n{total} hostile answers: {passed} passed on in normal form, {total - passed} refused or cut")
    assert not wrong, "\n".join(wrong)
