"""The dashboard `fleet`: how the whole platform does, from what callers notice down to the processes that decide."""

from dashboards import rows_admission, rows_fleet, rows_overload, rows_service
from dashboards.panels import Page, choose, choose_source, other_dashboards
from stoker.metrics import REQUESTS

UID = "stoker-fleet"
TAG = "stoker"


def dashboard() -> Page:
    """All of it."""
    page = Page(
        uid=UID,
        title="Stoker / Fleet",
        description="Requests and their objectives, cold starts, replicas and devices, and what decides.",
        tags=[TAG],
    )
    known = REQUESTS.name
    page.built.variables(
        [
            choose_source(),
            choose("namespace", "Namespace", f"label_values({known}, namespace)"),
            choose("function", "Function", f'label_values({known}{{namespace=~"$namespace"}}, function)'),
        ]
    ).links([other_dashboards(TAG)])
    rows_service.add_overview(page)
    rows_fleet.add_overview(page)
    rows_service.add_service(page)
    rows_admission.add_admission(page)
    rows_overload.add_overload(page)
    rows_admission.add_cost(page)
    rows_service.add_cold(page)
    rows_fleet.add_fleet(page)
    rows_fleet.add_control(page)
    return page
