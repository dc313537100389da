"""Tickets say what they said when they were sealed, or that they are not good: never an error, whatever is shown."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.function import Variant
from stoker.slots.places import Redemption
from stoker.tickets import MAX_CHARS, Ticket, TicketKeys, TicketOutcome, agent_mark, seal, unseal

pytestmark = pytest.mark.unit

OLD, NEW, STRANGE = (bytes([number]) * 32 for number in (1, 2, 3))
KEYS = TicketKeys(NEW, OLD)
MARK = agent_mark("10.0.0.7", 8443)
TICKET = Ticket(MARK, "boot-17", Variant.CPU, 1_800_000_000_123, 250)

tickets = st.builds(
    Ticket,
    agent=st.binary(min_size=8, max_size=8),
    place=st.text(st.characters(codec="ascii"), max_size=60),
    variant=st.sampled_from(Variant),
    at_ms=st.integers(0, 2**63),
    window_ms=st.integers(0, 2**32 - 1),
)


@given(tickets, st.text(max_size=80))
def test_a_ticket_is_read_as_it_was_sealed(ticket: Ticket, function: str) -> None:
    shown = seal(KEYS, ticket, function)
    assert unseal(KEYS, shown, function) == ticket
    assert shown.isascii()
    assert " " not in shown
    assert len(shown) <= MAX_CHARS


def test_a_ticket_is_good_for_its_function_only() -> None:
    shown = seal(KEYS, TICKET, "team-a/f")
    for other in ("team-b/f", "team-a/g", ""):
        assert unseal(KEYS, shown, other) is TicketOutcome.FOREIGN


def test_tickets_of_the_key_before_and_of_the_key_to_come_are_good() -> None:
    assert unseal(KEYS, seal(TicketKeys(OLD), TICKET, "ns/f"), "ns/f") == TICKET
    assert unseal(TicketKeys(OLD, NEW), seal(KEYS, TICKET, "ns/f"), "ns/f") == TICKET
    assert unseal(KEYS, seal(TicketKeys(STRANGE), TICKET, "ns/f"), "ns/f") is TicketOutcome.FORGED


def test_nothing_is_sealed_by_a_key_that_is_not_there() -> None:
    assert unseal(TicketKeys(NEW), seal(TicketKeys(b""), TICKET, "ns/f"), "ns/f") is TicketOutcome.FORGED


def test_a_ticket_with_any_bit_changed_is_forged() -> None:
    shown = seal(KEYS, TICKET, "ns/f")
    data = base64.urlsafe_b64decode(shown + "=" * (-len(shown) % 4))
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        text = base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode()
        assert unseal(KEYS, text, "ns/f") is TicketOutcome.FORGED


@given(st.text(max_size=MAX_CHARS + 1) | st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_whatever_a_client_shows_instead_is_forged(text: str) -> None:
    assert unseal(KEYS, text, "ns/f") is TicketOutcome.FORGED


def test_no_address_of_an_agent_can_be_read_in_it() -> None:
    shown = seal(KEYS, TICKET, "team-a/f")
    data = base64.urlsafe_b64decode(shown + "=" * (-len(shown) % 4))
    for secret in (b"10.0.0.7", bytes([10, 0, 0, 7]), b"team-a"):
        assert secret not in data
    assert agent_mark("10.0.0.7", 8443) != agent_mark("10.0.0.7", 8444)


def test_a_ticket_is_late_when_its_window_is_over() -> None:
    assert not TICKET.is_late(TICKET.at_ms + 250)
    assert TICKET.is_late(TICKET.at_ms + 251)


def test_every_answer_of_an_agent_is_an_outcome() -> None:
    assert {TicketOutcome(redemption.value) for redemption in Redemption} < set(TicketOutcome)
