"""What becomes of requests that are too many: who comes back and is served, and what trouble adds to the load."""

from dashboards import queries as q
from dashboards.panels import Line, Page, lines
from stoker import metrics as m

_HONOURED = {"outcome": '="honoured"'}
_VOID = {"outcome": '!="honoured"'}
_MADE = {"outcome": '="made"'}
_WITHHELD = {"outcome": '="withheld"'}


def add_overload(page: Page) -> None:
    """Tickets and further tries."""
    page.row(
        "Overload",
        lines(
            "Tickets",
            "Refusals that came with a place at an agent, and tickets that clients came back with, per second. Void: "
            "too early or late, used, forged, or its agent is gone; such a request is treated as any other.",
            "reqps",
            Line(q.or_zero(q.rate(m.TICKETS_GIVEN)), "given"),
            Line(q.or_zero(q.rate(m.TICKETS_SHOWN, where=_HONOURED)), "honoured"),
            Line(q.or_zero(q.rate(m.TICKETS_SHOWN, where=_VOID)), "void"),
        ),
        lines(
            "Tries at agents, further ones and none",
            "Second candidates, and what was sent again after a lost connection, per second. Withheld: the retry "
            "budget of the function was spent, so that trouble is not multiplied. Unasked: a gateway refused by itself "
            "what agents had just said they would refuse. Unseen: more came than it could look at.",
            "reqps",
            Line(q.or_zero(q.rate(m.RETRIES, where=_MADE)), "made"),
            Line(q.or_zero(q.rate(m.RETRIES, where=_WITHHELD)), "withheld"),
            Line(q.or_zero(q.rate(m.REFUSED_UNASKED)), "unasked"),
            Line(q.or_zero(q.rate(m.SHED_UNSEEN)), "unseen"),
        ),
    )
