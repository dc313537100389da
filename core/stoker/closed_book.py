"""What one agent said, with its refusals, of the requests that come next: for a moment it takes none of them either.

A gateway that keeps one book for each of its agents refuses those itself, without asking: under overload that is most
of them. The agent says for how long it speaks (Refusal.closed_us, from its own schedule; stoker.slots.verdict), which
holds if all goes as it predicts: work that is cancelled, or runs shorter, may make room earlier. So a word counts for
at most CLOSED_MAX_US. One request is sent a little before a long word ends, and one at a time for the rest of
HALF_OPEN_US after one that is over, or was overtaken by an admission or a new account of the agent (renews()): it finds
what has become free, or brings the next word, so that no crowd has to ask anew. TAKEN admissions end it.

Pure; times are microseconds on the clock of whoever keeps the book. Bounded: one word for each function and variant,
MOST in all.
"""

from msgspec import Struct

from stoker.admission import MIN_RETRY_AFTER_US
from stoker.model.function import Variant
from stoker.slots.places import unreserved_us
from stoker.turns import Turns
from stoker.wire.agent import CLOSED_MAX_US, Refusal

MOST = 4_096
"""Words that are kept (ours); with one more the oldest is dropped."""
HALF_OPEN_US = CLOSED_MAX_US
"""For so long after it was heard a word that is over lets one request at a time through to the agent (ours)."""
ASK_US = 10_000
"""So long that one is waited for (ours)."""
TAKEN = 2
"""When so many in a row were taken the word is forgotten (ours)."""
RENEW_US = 8_000
"""A word is long that counts for twice this, and is renewed so long before it ends (ours): a busy round trip."""


class Closed(Struct):
    """One word of the agent."""

    refusal: Refusal
    """What it said to the request that it refused."""
    objective_us: int
    """The objective of that request, a duration from its arrival at the gateway."""
    due_us: int
    """The instant of that objective as the agent was told it."""
    sent_us: int
    heard_us: int
    until_us: int
    """Until before this instant it counts."""
    renewed: bool = False
    asked_us: int | None = None
    """When the last one was let through since the word is over."""
    taken: int = 0

    def renews(self, now_us: int) -> bool:
        """Whether the request that comes now is sent although it would be refused. True once while the word counts, and
        then for one at a time.
        """
        if now_us >= self.until_us:
            if self.asked_us is not None and now_us < self.asked_us + ASK_US:
                return False
            self.asked_us = now_us
            return True
        if self.renewed or now_us < self.until_us - RENEW_US or self.until_us - self.heard_us < 2 * RENEW_US:
            return False
        self.renewed = True
        return True

    def speaks_for(self, objective_us: int, due_us: int, now_us: int) -> bool:
        """Whether it counts for a request of the function that has this objective (a duration), due then. Not for one
        that may take longer, nor for one that would stand further ahead in the order.
        """
        if objective_us > self.objective_us or due_us < self.due_us:
            return False
        if now_us >= self.until_us:
            return now_us < self.heard_us + HALF_OPEN_US
        # Time that passes and an objective that is due later use up the same excess.
        return due_us < self.due_us + (self.heard_us - self.sent_us) + self.refusal.closed_us

    def come_back_us(self, turns: Turns, step_us: int, now_us: int) -> int | None:
        """When one that is refused now by this word may try again, as the agent would say to those who get no place;
        None where it says nothing of that. `turns`: of its function at this gateway, each `step_us` after the last.
        """
        said = self.refusal
        if said.retry_after_ms is None:
            return None
        # Not at the instant that this one was told: that may be a place far ahead, and nothing is kept for the others.
        earliest_us = max(self.heard_us + said.room_us, now_us + MIN_RETRY_AFTER_US)
        return unreserved_us(turns, earliest_us=earliest_us, objective_us=self.objective_us, step_us=step_us)

    def end(self) -> None:
        """It counts no more."""
        self.until_us, self.asked_us = self.heard_us, None


class ClosedBook:
    """See the module."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: dict[tuple[str, Variant], Closed] = {}

    def __len__(self) -> int:
        return len(self._words)

    def note(
        self,
        key: str,
        variant: Variant,
        refusal: Refusal,
        *,
        objective_us: int,
        due_us: int,
        sent_us: int,
        now_us: int,
    ) -> None:
        """A request that was sent to the agent at `sent_us` was refused so. What was said before is forgotten."""
        words = self._words
        words.pop((key, variant), None)
        # The agent said it at some time between the two. From the later on: in a storm the way back is what takes long,
        # and a word that is over when it is heard would help nobody then.
        until_us = now_us + min(refusal.closed_us, CLOSED_MAX_US)
        if until_us > now_us:
            if len(words) >= MOST:
                del words[next(iter(words))]
            words[key, variant] = Closed(refusal, objective_us, due_us, sent_us, now_us, until_us)

    def find(self, key: str, variant: Variant, *, objective_us: int, due_us: int, now_us: int) -> Closed | None:
        """The word that refuses a request which comes now; None: the agent has to be asked."""
        word = self._words.get((key, variant))
        if word is None or not word.speaks_for(objective_us, due_us, now_us):
            return None
        return word

    def reopen(self, key: str, variant: Variant) -> None:
        """The agent took a request of it."""
        word = self._words.get((key, variant))
        if word is not None:
            word.end()
            word.taken += 1
            if word.taken == TAKEN:
                del self._words[key, variant]

    def clear(self) -> None:
        """The agent told anew how it stands."""
        for word in self._words.values():
            word.end()
