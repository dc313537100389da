"""The kinds of panels that our dashboards are made of, in one look. Knows Grafana and none of Stoker's metrics."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from grafana_foundation_sdk.builders.common import (
    HeatmapCalculationOptions,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.heatmap import HeatmapColorOptions, YAxisConfig
from grafana_foundation_sdk.builders.heatmap import Panel as Heatmap
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from msgspec import Struct

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_TALL, _FLAT = 8, 4
_GRID = 24

Colours = Sequence[tuple[float | None, str]]
"""From a value on, a colour; the first has no value."""


class Line(Struct, frozen=True):
    """One query of a panel. `legend` names labels as `{{label}}`."""

    query: str
    legend: str
    unit: str = ""
    """Where it is another than the panel's: it gets the axis on the right."""


class Column(Struct, frozen=True, kw_only=True):
    """One query of a table, joined with the others by their labels."""

    query: str
    title: str
    unit: str = "short"
    decimals: int | None = None
    colours: Colours = ()


class AnyPanel(Protocol):
    """What every panel can be told before it is placed."""

    def id(self, id_val: int) -> Any: ...
    def build(self) -> Any: ...


Panel = TypeVar("Panel", Timeseries, Stat, Heatmap, Table)


class Page:
    """Puts rows and panels below one another and numbers them."""

    def __init__(self, *, uid: str, title: str, description: str, tags: Sequence[str]) -> None:
        self._next = 1
        self.built = (
            Dashboard(title)
            .uid(uid)
            .description(description)
            .tags(list(tags))
            .editable()
            .refresh("30s")
            .time("now-1h", "now")
            .timezone("browser")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .variables([])
            .annotations([])
        )

    def row(self, title: str, *panels: AnyPanel) -> None:
        """A row and what stands in it."""
        self.built.with_row(Row(title).id(self._number()))
        self.add(*panels)

    def add(self, *panels: AnyPanel) -> None:
        """Panels without a row of their own."""
        for panel in panels:
            self.built.with_panel(panel.id(self._number()))

    def _number(self) -> int:
        self._next += 1
        return self._next - 1


def text(page: Page) -> str:
    """The file: sorted, so that a difference shows what changed."""
    raw = JSONEncoder().encode(page.built.build())
    return json.dumps(json.loads(raw), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def choose_source() -> DatasourceVariable:
    """Which Prometheus."""
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def choose(name: str, label: str, query: str) -> QueryVariable:
    """Some or all values of a label, as they were in the time that is looked at."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name, "qryType": 1})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def other_dashboards(tag: str) -> DashboardLink:
    """A menu of all dashboards with a tag, with the time and the choices kept."""
    return (
        DashboardLink("Stoker")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([tag])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
        .icon("external link")
    )


def lines(
    title: str,
    about: str,
    unit: str,
    *queries: Line,
    width: int = 8,
    stacked: bool = False,
    most: float | None = None,
    colours: Mapping[str, str] | None = None,
) -> Timeseries:
    """Lines over time. `colours` are fixed ones by the name of a line."""
    panel = (
        _described(Timeseries(), title, about, width, _TALL)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .span_nulls(False)
        .legend(
            VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    if most is not None:
        panel.max(most)
    for name, colour in (colours or {}).items():
        panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
    for reference, line in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(_target(reference, line).range())
        if line.unit:
            other = [DynamicConfigValue("unit", line.unit), DynamicConfigValue("custom.axisPlacement", "right")]
            panel.override_by_query(reference, other)
    return panel


def number(
    title: str, about: str, unit: str, *queries: Line, width: int = 4, colours: Colours = (), none: str = ""
) -> Stat:
    """The value of now, large. `none` stands where there is no data."""
    panel = (
        _described(Stat(), title, about, width, _FLAT)
        .unit(unit)
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(colours))
    )
    if none:
        panel.no_value(none)
    for reference, line in zip("ABCD", queries, strict=False):
        target = _target(reference, line)
        # What looks over the whole time as it is needs no history of that.
        panel.with_target(target.instant() if "$__range" in line.query else target.range())
    return panel


def heat(title: str, about: str, unit: str, query: str, *, width: int = 8) -> Heatmap:
    """The buckets of a histogram over time."""
    return (
        _described(Heatmap(), title, about, width, _TALL)
        .calculate(False)
        .calculation(HeatmapCalculationOptions())
        .color(HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(YAxisConfig().unit(unit))
        .with_target(
            Dataquery().ref_id("A").expr(query).legend_format("{{le}}").format(PromQueryFormat.HEATMAP).range()
        )
    )


def table(title: str, about: str, keys: Sequence[str], *columns: Column, width: int = _GRID, link: str = "") -> Table:
    """One row per combination of the labels `keys`. `link` leads from a row elsewhere."""
    panel = _described(Table(), title, about, width, _TALL + 2).filterable(True)
    names = {}
    for reference, column in zip("ABCDEFGH", columns, strict=False):
        panel.with_target(Dataquery().ref_id(reference).expr(column.query).format(PromQueryFormat.TABLE).instant())
        names[f"Value #{reference}"] = column.title
        panel.override_by_name(column.title, _column(column))
    if link:
        panel.override_by_name(
            keys[-1], [DynamicConfigValue("links", [{"title": "Show only this", "url": link, "targetBlank": False}])]
        )
    order = {name: at for at, name in enumerate([*keys, *names])}
    organised = {"excludeByName": {"Time": True}, "renameByName": names, "indexByName": order}
    return panel.transformations(
        [DataTransformerConfig(id_val="merge", options={}), DataTransformerConfig(id_val="organize", options=organised)]
    )


def _target(reference: str, line: Line) -> Dataquery:
    return Dataquery().ref_id(reference).expr(line.query).legend_format(line.legend)


def _column(column: Column) -> list[DynamicConfigValue]:
    found = [DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        found.append(DynamicConfigValue("decimals", column.decimals))
    if column.colours:
        steps = [{"value": value, "color": colour} for value, colour in column.colours]
        found += [
            DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
            DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        ]
    return found


def _thresholds(colours: Colours) -> ThresholdsConfig:
    steps = [Threshold(value=value, color=colour) for value, colour in colours or ((None, "text"),)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _described(panel: Panel, title: str, about: str, width: int, height: int) -> Panel:
    panel.title(title).description(about).datasource(SOURCE).span(width).height(height)
    return panel
