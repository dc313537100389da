"""Prints how long each layer took: the sum over its tests, set-up and tear-down included. Skips nothing.

Property tests draw the same examples on every run, so that a red run means a change; STOKER_EXPLORE=1 draws new ones.
"""

import gc
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings
from settings_of_tests import EXPLORE

settings.register_profile("same", derandomize=True, deadline=None, max_examples=60)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("explore" if EXPLORE else "same")

# Where rich is installed, structlog draws each traceback that a test provokes, with all locals: up to half a second.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback

LAYERS = ("unit", "property", "golden", "contract", "sim", "e2e", "cluster")


class LayerTimes:
    """Adds up the phases of every test under the layer that it is marked with."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.tests: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        layer = next((name for name in LAYERS if name in report.keywords), "no layer")
        self.seconds[layer] = self.seconds.get(layer, 0.0) + report.duration
        self.tests[layer] = self.tests.get(layer, 0) + (report.when == "call")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.seconds:
            terminalreporter.section("time of each layer")
        for layer, seconds in sorted(self.seconds.items()):
            terminalreporter.line(f"{layer:9} {self.tests[layer]:5} tests {seconds:7.1f} s")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LayerTimes(), "stoker-layer-times")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collection makes a million objects that stay: neither it nor any test is to look through them for garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test without a layer would run in neither half of `make test`'s report: say so at once."""
    unmarked = [item.nodeid for item in items if not any(item.get_closest_marker(layer) for layer in LAYERS)]
    if unmarked:
        raise pytest.UsageError(f"mark each test file with its layer ({', '.join(LAYERS)}): {unmarked[:5]}")
