"""Five-field cron expressions in UTC: what they mean, and the times around a minute at which they fire.

Minute, hour, day of month, month, day of week; lists, ranges, steps and English names. As in Vixie's cron, a day
matches when either day field does, unless one of them begins with `*`: then both must. Minutes are counted from the
epoch. Knows no clock.
"""

import re
from datetime import date
from functools import lru_cache

from msgspec import Struct

from stoker.errors import InvalidObject

MINUTES_A_DAY = 1440
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SEARCH_DAYS = 12 * 366
"""The 29th of February is at most eight years away."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM = re.compile(
    r"(?:(?P<star>\*)|(?P<first>[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?)(?:/(?P<step>[0-9]{1,4}))?", re.ASCII
)


class Cron(Struct, frozen=True):
    """The times that an expression names."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either_day: bool
    """One matching day field suffices."""

    def on_day(self, day: int) -> bool:
        """Whether it fires on a day, counted from the epoch."""
        when = date.fromordinal(_EPOCH_DAY + day)
        if when.month not in self.months:
            return False
        by_day, by_weekday = when.day in self.days, when.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.either_day else by_day and by_weekday


def parse_cron(text: str, path: str = "") -> Cron:
    """The expression of a text. InvalidObject with the path and one sentence for one that is none, or never fires."""
    fields = text.split()
    if len(fields) != 5:
        raise InvalidObject(path, f"{text!r} has {len(fields)} fields; write minute hour day month weekday")
    minutes = _field(fields[0], 0, 59, (), "minute", path)
    hours = _field(fields[1], 0, 23, (), "hour", path)
    days = _field(fields[2], 1, 31, (), "day of the month", path)
    months = _field(fields[3], 1, 12, _MONTHS, "month", path)
    weekdays = frozenset(day % 7 for day in _field(fields[4], 0, 7, _DAYS, "weekday", path))
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either and not any(_LONGEST[month - 1] >= min(days) for month in months):
        raise InvalidObject(path, f"{text!r} never comes: no such month has a day {min(days)}")
    return Cron(tuple(sorted(minutes)), tuple(sorted(hours)), days, months, weekdays, either)


def _field(text: str, least: int, most: int, names: tuple[str, ...], what: str, path: str) -> frozenset[int]:  # noqa: PLR0917  one field's facts
    found: set[int] = set()
    for item in text.lower().split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise InvalidObject(path, f"{item!r} is no {what}; write a number, a-b, a list of them, or */step")
        step = int(match["step"] or 1)
        first = least if match["star"] else _number(match["first"], least, most, names, what, path)
        last = first
        if match["last"] is not None:
            last = _number(match["last"], least, most, names, what, path)
        elif match["star"] or match["step"]:
            last = most
        if last < first:
            raise InvalidObject(path, f"{item!r} runs backwards; write the smaller {what} first, or two ranges")
        if step == 0:
            raise InvalidObject(path, f"{item!r} has the step 0; steps count from 1")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, least: int, most: int, names: tuple[str, ...], what: str, path: str) -> int:  # noqa: PLR0917  as above
    if text in names:
        return names.index(text) + (1 if names is _MONTHS else 0)
    if text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise InvalidObject(
        path, f"{text!r} is no {what}; it is {least} to {most}{' or ' + names[0] + ' ...' if names else ''}"
    )


@lru_cache(maxsize=4096)
def latest(cron: Cron, minute: int) -> int | None:
    """The last minute up to and including `minute` at which it fires; None: not for years."""
    day, of_day = divmod(minute, MINUTES_A_DAY)
    for back in range(_SEARCH_DAYS):
        if day - back < 0:
            return None
        if cron.on_day(day - back):
            found = _last_of_day(cron, of_day if back == 0 else MINUTES_A_DAY)
            if found is not None:
                return (day - back) * MINUTES_A_DAY + found
    return None


@lru_cache(maxsize=4096)
def following(cron: Cron, minute: int) -> int | None:
    """The first minute after `minute` at which it fires; None: not for years."""
    day, of_day = divmod(minute + 1, MINUTES_A_DAY)
    for ahead in range(_SEARCH_DAYS):
        if cron.on_day(day + ahead):
            found = _first_of_day(cron, of_day if ahead == 0 else 0)
            if found is not None:
                return (day + ahead) * MINUTES_A_DAY + found
    return None


def _last_of_day(cron: Cron, until: int) -> int | None:
    for hour in reversed(cron.hours):
        for minute in reversed(cron.minutes):
            if hour * 60 + minute <= until:
                return hour * 60 + minute
    return None


def _first_of_day(cron: Cron, since: int) -> int | None:
    for hour in cron.hours:
        for minute in cron.minutes:
            if hour * 60 + minute >= since:
                return hour * 60 + minute
    return None
