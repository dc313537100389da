"""kopf in a container whose user id has no name."""

from typing import Any

import pytest

pytestmark = pytest.mark.unit


async def test_kopf_is_told_who_it_is_since_a_user_id_without_a_name_would_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import kopf  # it takes half a second, and only this test needs it

    from stoker_operator import kopf_feed

    given: dict[str, object] = {}

    async def operator(**words: object) -> None:
        given.update(words)

    monkeypatch.setattr(kopf, "operator", operator)
    monkeypatch.setattr(kopf_feed, "GOODBYE_S", 0)
    nothing: Any = None  # it only watches here
    feed = kopf_feed.KopfFeed(nothing, nothing, nothing, lambda *_: None)
    await feed._watch()
    assert given["identity"]
