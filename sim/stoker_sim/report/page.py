"""A comparison as one page of HTML that needs nothing else: no script, no font, no address."""

from collections.abc import Sequence
from html import escape

from stoker_sim.compare import Comparison
from stoker_sim.report.plots import plots_of
from stoker_sim.report.tables import Table, by_name, comparison_table, figures_table
from stoker_sim.summary import SUMMARISED, Line

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }
body { max-width: 1100px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9em }
th, td { padding: .25em .7em; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd }
.words { text-align: left }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 1.5em }
figure { margin: 0 } figure svg { width: 100%; height: auto }
figcaption, .foot { color: #555; font-size: .85em }
summary { cursor: pointer } dt { font-family: monospace } dd { margin: 0 0 .3em 1.5em; color: #555 }
"""


def as_html(comparison: Comparison, lines: Sequence[Line]) -> str:
    """The page."""
    found = by_name(lines)
    name = escape(comparison.scenario.name or "comparison")
    seeds = comparison.seeds
    counted = (
        f"{len(comparison.policies)} policies, {len(comparison.settings)} settings, "
        f"seeds {seeds[0]} to {seeds[-1]}: {len(comparison.runs)} simulations"
    )
    figures = "".join(
        f"<figure>{plot.svg}<figcaption><b>{escape(plot.title)}.</b> {escape(plot.caption)}</figcaption></figure>"
        for plot in plots_of(comparison, found)
    )
    every = "".join(
        f"<details><summary>{escape(setting.label or 'all figures')}</summary>"
        f"{_table(figures_table(comparison, setting, lines))}</details>"
        for setting in comparison.settings
    )
    meanings = "".join(
        f"<dt>{escape(spec.name)}{f' ({escape(spec.unit)})' if spec.unit else ''}</dt><dd>{escape(spec.meaning)}</dd>"
        for spec in SUMMARISED
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n<body>'
        f"<h1>{name}</h1><p>{counted}.</p>\n{_table(comparison_table(comparison, lines))}\n"
        f'<h2>Plots</h2><div class="plots">{figures}</div>\n'
        f"<h2>Defaults and assumptions</h2><ul>{notes}</ul>\n"
        f"<h2>All figures</h2>{every}\n"
        f"<details><summary>What they mean</summary><dl>{meanings}</dl></details>\n</body></html>\n"
    )


def _table(table: Table) -> str:
    head = "".join(_cell(table, "th", column, cell) for column, cell in enumerate(table.head))
    rows = "".join(
        f"<tr>{''.join(_cell(table, 'td', column, cell) for column, cell in enumerate(row))}</tr>\n"
        for row in table.rows
    )
    foot = "<br>".join(escape(sentence) for sentence in table.foot)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>'
        f'<p class="foot">{foot}</p>'
    )


def _cell(table: Table, tag: str, column: int, text: str) -> str:
    words = ' class="words"' if table.in_words(column) else ""
    return f"<{tag}{words}>{escape(text)}</{tag}>"
