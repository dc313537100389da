"""`stoker sim compare`."""

from msgspec import Struct

from stoker_cli.sim.playing import play
from stoker_cli.sim.showing import check_target, show, write
from stoker_cli.sim.what import Wanted, scenario_of
from stoker_sim.compare import compared, jobs_of
from stoker_sim.report.documents import as_csv, as_json
from stoker_sim.report.tables import comparison_table
from stoker_sim.summary import lines_of


class Files(Struct, frozen=True, kw_only=True):
    """Where results go besides the terminal."""

    json: str | None = None
    csv: str | None = None
    html: str | None = None


def compare(wanted: Wanted, files: Files, processes: int | None) -> None:
    """Play everything, show the table, write the files. Raises StokerError with one sentence."""
    for file in (files.json, files.csv, files.html):
        check_target(file)
    scenario, folder = scenario_of(wanted)
    comparison = compared(scenario, play(scenario, folder, tuple(jobs_of(scenario)), processes))
    lines = lines_of(comparison)
    show([comparison_table(comparison, lines)], comparison.notes)
    if files.json is not None:
        write(files.json, as_json(comparison, lines))
    if files.csv is not None:
        write(files.csv, as_csv(comparison).encode())
    if files.html is not None:
        # Matplotlib takes half a second to import.
        from stoker_sim.report.page import as_html  # noqa: PLC0415

        write(files.html, as_html(comparison, lines).encode())
