"""Every desync form of the catalogue against a real gateway, a real agent and a recording replica.

A form is refused (nothing of it reaches the replica, the connection ends where its framing is in doubt), or it is
re-serialised: what the gateway sent to the agent and the agent to the replica is the same to five readers, and is what
the gateway itself read. The request behind it on the connection is answered for itself.
"""

from collections.abc import AsyncIterator

import pytest
from desync_forms import FAMILIES, FORMS
from desync_judgement import faults
from desync_parts import CHUNKED, GET, LAST, POST
from desync_rig import SENTINEL, DesyncRig
from http_readers import as_the_gateway

pytestmark = [pytest.mark.contract, pytest.mark.timeout(240)]


@pytest.fixture
async def rig() -> AsyncIterator[DesyncRig]:
    one = await DesyncRig().start()
    yield one
    await one.close()


def test_the_catalogue_holds_at_least_300_forms_and_each_once() -> None:
    assert len(FORMS) >= 300
    assert len({form.data for form in FORMS}) == len({form.name for form in FORMS}) == len(FORMS)


@pytest.mark.parametrize("joined", [False, True], ids=["then-a-request", "with-a-request-in-one-segment"])
async def test_every_form_is_refused_or_read_the_same_by_every_reader(
    rig: DesyncRig, joined: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: list[str] = []
    passed = dict.fromkeys(FAMILIES, 0)
    for form in FORMS:
        played = await rig.play(form.data, joined=joined)
        wrong += [f"{form.family}: {form.name}: {fault}" for fault in faults(form, played)]
        passed[form.family] += any(message.target != b"/sentinel" for message in played.seen)
    with capsys.disabled():
        total = sum(passed.values())
        print(f"\n{len(FORMS)} desync forms: {len(FORMS) - total} refused, {total} re-serialised {passed}")
    assert not wrong, "\n".join(wrong)


def test_every_form_is_read_the_same_byte_by_byte() -> None:
    for form in FORMS:
        whole, bytewise = (
            as_the_gateway(form.data),
            as_the_gateway(*(form.data[i : i + 1] for i in range(len(form.data)))),
        )
        # What is refused at once may have good requests before the fault; an upgrade ends the reading where it is seen.
        assert bytewise.messages[: len(whole.messages)] == whole.messages, form
        assert whole.problem or not bytewise.problem, form


async def test_a_trailer_never_becomes_a_field_of_the_next_request(rig: DesyncRig) -> None:
    """aiohttp's C parser keeps the last trailer and takes it for the first field of the request that follows."""
    trailed = POST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nX-Admin: yes\r\n\r\n"
    for joined in (False, True):
        played = await rig.play(trailed, joined=joined)
        assert [message.get(b"x-admin") for message in played.seen] == [None]
        assert played.closed
    field = (b"x-admin", b"yes")
    assert field in as_the_gateway(trailed, SENTINEL).messages[1].fields, "aiohttp is mended: ends_plainly may go"


@pytest.mark.parametrize("cut", [0, 1, 3, 5, 6, 12])
async def test_a_chunked_body_without_trailers_keeps_its_connection(rig: DesyncRig, cut: int) -> None:
    whole = POST + CHUNKED + b"\r\n5\r\nhello\r\n" + LAST
    answers = await rig.call_in_pieces((whole[: len(whole) - cut], whole[len(whole) - cut :], SENTINEL))
    assert [answer.get(b"x-seen") for answer in answers.messages] == [b"POST /", b"GET /sentinel"]


@pytest.mark.parametrize("request_", [GET + b"\r\n", GET + b"Upgrade: h2c\r\n\r\n"], ids=["served", "refused"])
async def test_a_gateway_that_fails_behind_an_answer_sends_no_second_one(
    rig: DesyncRig, request_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be taken for the answer to the next request."""

    def fail(_record: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(rig.gateway._books, "_on_record", fail)
    assert (await rig.everything(request_)).count(b"HTTP/1.1 ") <= 1


async def test_an_idle_connection_keeps_no_body(rig: DesyncRig) -> None:
    unread = POST + b"Stoker-Class: none\r\n" + CHUNKED + b"\r\n5\r\nhello\r\n" + LAST
    async with rig.kept_open(unread) as connection:
        assert (connection._newest, connection.plain_end) == (None, None)


async def test_many_requests_behind_a_late_body_are_all_answered(rig: DesyncRig) -> None:
    """aiohttp's parser counts one request too many then, stops, and waits for bytes that do not come."""
    head, rest = POST + b"Content-Length: 5\r\n\r\n", b"hello" + (GET + b"\r\n") * 70
    answers = await rig.call_in_pieces((head, rest))
    assert len(answers.messages) == 71
