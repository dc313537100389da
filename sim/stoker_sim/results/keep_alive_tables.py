"""Tables, charts and plain rows of `keep-alive`: the whole frontier, and what becomes of it by trigger."""

from collections.abc import Sequence

from stoker_sim.results.keep_alive_ratios import WANTED, Group, Key, Ratio, optimal_line, optimum
from stoker_sim.results.keep_alive_study import TRACE, Case, is_even, is_odd, trigger_of, woken_by
from stoker_sim.results.keep_alive_ways import BASE, BASE_MINUTES, FIXED, HAZARD, HAZARD_ALONE, HISTOGRAM, PAPER
from stoker_sim.results.result import Chart, Part, Row, Series, Table, figure

_BY_TRIGGER = (FIXED, HISTOGRAM, HAZARD)
"""Policies of which all settings are in the plain rows by trigger."""
_MANY = 20
_SHOWN = 0.4
"""Of the memory of the fixed time: charts begin there."""
_HALVES = {"odd": is_odd, "even": is_even}


def frontiers(memory: str, found: Sequence[Group]) -> Part:
    """Of the groups with that memory."""
    firsts = [Group(group.spread, group.memory, group.cases[:1]) for group in found]
    rows = [
        (*key, *(figure(part) for group in firsts for part in _cells(group.ratio(key, is_odd))))
        for key in firsts[0].keys
    ]
    rows.append(
        ("optimum, no pre-warming", "same memory", *(figure(p) for g in firsts for p in _cells(g.optimum(is_odd))))
    )
    rows.append(
        ("optimum, pre-warming", "last moment", *(figure(p) for g in firsts for p in (0.0, g.foreseen(is_odd))))
    )
    table = Table(
        title=f"All settings, {'memory of the trace' if memory == TRACE else 'GPU models (first draw)'}",
        head=(
            "policy",
            "setting",
            *(f"{what}, {g.spread.value}" for g in firsts for what in ("cold starts", "memory")),
        ),
        rows=tuple(rows),
        foot=f"Of the functions of odd number, over those of a fixed {BASE_MINUTES} min.",
    )
    return Part(tables=(table,), charts=tuple(_chart(group) for group in firsts))


def _cells(found: Ratio) -> tuple[float, float]:
    return found.cold, found.memory


def _chart(group: Group) -> Chart:
    optimal = [one for one in optimal_line(group.cases[0], is_odd) if one.memory >= _SHOWN]
    lines = [_line("optimum, no pre-warming", optimal, published=True)]
    for family in dict.fromkeys(key[0] for key in group.keys):
        ratios = [group.ratio(key, is_odd) for key in group.keys if key[0] == family]
        lines.append(_line(family, sorted(ratios, key=lambda one: one.memory)))
    lines.append(Series(label="target", x=(1.0,), y=(WANTED,), published=True, points=True))
    return Chart(
        name=f"{group.memory}-{group.spread.value}",
        title=f"{group.name[0].upper()}{group.name[1:]}",
        caption=f"""Avoidable cold starts over memory held, both over those of a fixed {BASE_MINUTES} minutes, of the
        functions of odd number; each point is one setting. Left and below is better. That optimum may not pre-warm, so
        what does can pass it.""",
        x_label=f"memory held over that of a fixed {BASE_MINUTES} min",
        y_label="avoidable cold starts over those of it",
        series=tuple(lines),
        log_y=True,
    )


def _line(label: str, ratios: Sequence[Ratio], *, published: bool = False) -> Series:
    shown = [one for one in ratios if one.cold > 0]
    return Series(
        label=label, x=tuple(one.memory for one in shown), y=tuple(one.cold for one in shown), published=published
    )


def triggers(group: Group) -> Part:
    """By what wakes the functions, which no policy sees."""
    (case,) = group.cases
    ours = group.chosen((HAZARD,))
    keys = dict.fromkeys((BASE, PAPER, group.chosen((HISTOGRAM,)), group.chosen((HAZARD_ALONE,)), ours))
    lines: list[tuple[str, ...]] = []
    plain: list[Row] = []
    inside: list[str] = []
    outside: list[str] = []
    for name in sorted({trigger_of(gaps) for gaps in case.functions}):
        of = woken_by(name)
        chosen = case.chosen(of)
        totals = {key: case.total(key, chosen) for key in group.keys}
        base_cold, base_memory = totals[BASE]
        cells = [f"{totals[key][0]:,} ({figure(totals[key][1] / base_memory, 2)})" for key in keys]
        lines.append((f"{name} ({int(chosen.sum())})", *cells, f"{round(optimum(case, of).cold * base_cold):,} (1)"))
        plain += [_row(case, name, key, totals[BASE], totals[key]) for key in group.keys if key[0] in _BY_TRIGGER]
        if base_cold >= _MANY:
            found = group.ratio(ours, of)
            told = f"{name} ({found.cold:.3f} at {found.memory:.3f})"
            (inside if found.reaches else outside).append(told)
    table = Table(
        title=f"Avoidable cold starts by trigger (and memory over that of the fixed time): {group.name}",
        head=("trigger (functions)", *(" ".join(key) for key in keys), "optimum, no pre-warming"),
        rows=tuple(lines),
        foot="All functions. No policy sees what wakes a function.",
    )
    finding = f"""By trigger ({group.name}; those with {_MANY} avoidable cold starts or more; cold starts and memory
    over those of a fixed {BASE_MINUTES} min), {" ".join(ours)} is inside the target for {", ".join(inside) or "none"},
    and outside for {", ".join(outside) or "none"}. What it saves on some pays for the others."""
    return Part(tables=(table,), findings=(finding,), rows=tuple(plain))


def rows_of(case: Case) -> list[Row]:
    """Every figure of the case."""
    rows = []
    for half, of in _HALVES.items():
        chosen = case.chosen(of)
        base = case.total(BASE, chosen)
        rows += [_row(case, half, way.key, base, case.total(way.key, chosen)) for way in case.ways]
        rows += [
            {
                **_about(case, half),
                "policy": "optimum, no pre-warming",
                "setting": "",
                "cold_ratio": one.cold,
                "memory_ratio": one.memory,
            }
            for one in optimal_line(case, of, 12)
        ]
    return rows


def _row(case: Case, functions: str, key: Key, base: tuple[int, float], found: tuple[int, float]) -> Row:
    cold, memory = found
    return {
        **_about(case, functions),
        "policy": key[0],
        "setting": key[1],
        "cold": cold,
        "memory_1e6_mib_s": memory,
        "cold_ratio": cold / base[0] if base[0] else None,
        "memory_ratio": memory / base[1],
    }


def _about(case: Case, functions: str) -> Row:
    return {"spread": case.spread.value, "memory": case.memory, "draw": case.seed, "functions": functions}
