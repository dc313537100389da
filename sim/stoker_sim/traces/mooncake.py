"""Mooncake's conversation trace: an hour of long prompts at Kimi, of which the first two thirds are here.

Source: R. Qin et al., "Mooncake: Trading More Storage for Less Computation" (FAST'25). Arrivals are published in ticks
of about 3 s, so that many share one; they are spread over their tick here, which is ours. Reuse of prompt prefixes is
not simulated: every prompt is computed whole.
"""

from pathlib import Path

import numpy as np

from stoker_sim.assumptions import Assumptions
from stoker_sim.draws import key_of, uniforms
from stoker_sim.traces.files import data_file
from stoker_sim.traces.llm_requests import Serving, llm_workload
from stoker_sim.traces.table import Number, Text, read_table
from stoker_sim.workload import Workload

TICK_US = 3_000_000

COLUMNS = (
    Number(name="arrival_ms", unit="milliseconds", high=3.2e11),
    Number(name="input_tokens", unit="tokens", low=1, high=1e7, whole=True),
    Number(name="output_tokens", unit="tokens", low=1, high=1e7, whole=True),
    Text(name="prefix_block_ids", optional=True, blank=True),
)


def load(
    path: Path | None = None,
    serving: Serving | None = None,
    given: Assumptions | None = None,
    *,
    spread_ticks: bool = True,
) -> Workload:
    """The project's own copy, or a file of that form sorted by time. Raises BadTrace."""
    given = given or Assumptions()
    table = read_table(path or data_file("mooncake_conversation/requests.csv.gz"), COLUMNS)
    table.check_sorted("arrival_ms")
    time_us = np.rint(1e3 * table.numbers["arrival_ms"]).astype(np.int64)
    notes = []
    if spread_ticks:
        offset = uniforms(key_of(given.seed, "tick", "mooncake"), np.arange(len(time_us))) * TICK_US
        time_us = time_us + np.floor(offset).astype(np.int64)
        notes.append(f"arrivals are spread over their ticks of 3 s by us (seed {given.seed})")
    return llm_workload(
        "mooncake",
        time_us,
        table.numbers["input_tokens"].astype(np.int64),
        table.numbers["output_tokens"].astype(np.int64),
        serving=serving or Serving(),
        given=given,
        source="mooncake conversation",
        arrival_notes=notes,
        function_notes=("prompt prefixes are not reused",),
    )
