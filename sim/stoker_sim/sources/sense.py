"""What a source asks for that its form allows and nobody can give: no time, no minutes, too many requests.

Pure; whoever reads a scenario tells the line. What a source finds out only with its data is told by `making`.
"""

from collections.abc import Iterator

from stoker_sim.sources import forms

MOST_REQUESTS = 50_000_000
"""Ours: the columns of so many take some gigabytes."""
_TIMES = ("exec", "period", "duration", "quiet", "burst", "timeout")
"""Fields in which 0 is no answer."""


def nonsense(source: forms.AnySource) -> Iterator[tuple[str, str]]:
    """Each field that cannot be as it is, and why; an empty field is the whole source."""
    for name in _TIMES:
        value = getattr(source, name, None)
        for index, time_us in enumerate(value if isinstance(value, tuple) else (value,)):
            if time_us == 0:
                yield f"{name}[{index}]" if isinstance(value, tuple) else name, "0s is no time; give more"
                return
    if isinstance(source, forms.AzureFunctions | forms.AzureFunctions2019) and source.begin_minute >= source.end_minute:
        minutes = f"minutes from {source.begin_minute} to {source.end_minute} are none"
        yield "endMinute", f"{minutes}; let endMinute be after beginMinute"
    requests = _requests(source)
    if requests > MOST_REQUESTS:
        yield "", f"asks for about {requests:.0f} requests; at most {MOST_REQUESTS} are played"


def _requests(source: forms.AnySource) -> float:
    """About how many a generator is to make; 0 where that hangs on a trace or on policies."""
    match source:
        case forms.Rated():
            return source.per_second * source.duration / 1e6
        case forms.Periodic():
            mean = sum(1 / period for period in source.period) / len(source.period)
            return source.functions * source.duration * mean
    return 0.0
