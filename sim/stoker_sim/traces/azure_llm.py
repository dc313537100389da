"""Azure's LLM inference trace of 2023: two services during the same hour, of which the first two thirds are here.

Source: P. Patel et al., "Splitwise" (ISCA'24), https://github.com/Azure/AzurePublicDataset. `code` has a gap of 173 s.
"""

from enum import StrEnum
from pathlib import Path

import numpy as np

from stoker_sim.assumptions import Assumptions
from stoker_sim.traces.files import data_file
from stoker_sim.traces.llm_requests import Serving, llm_workload
from stoker_sim.traces.table import Number, read_table
from stoker_sim.workload import Workload

COLUMNS = (
    Number(name="arrival_s", unit="seconds", high=3.2e8),
    Number(name="context_tokens", unit="tokens", low=1, high=1e7, whole=True),
    Number(name="generated_tokens", unit="tokens", low=1, high=1e7, whole=True),
)


class Service(StrEnum):
    CODE = "code"
    CONVERSATION = "conv"


def sample(service: Service, serving: Serving | None = None, given: Assumptions | None = None) -> Workload:
    """The project's own copy."""
    return load(data_file(f"azure_llm_2023/{service.value}.csv.gz"), service.value, serving, given)


def load(path: Path, name: str = "llm", serving: Serving | None = None, given: Assumptions | None = None) -> Workload:
    """A file of that form, sorted by time. Raises BadTrace."""
    table = read_table(path, COLUMNS)
    table.check_sorted("arrival_s")
    return llm_workload(
        name,
        np.rint(1e6 * table.numbers["arrival_s"]).astype(np.int64),
        table.numbers["context_tokens"].astype(np.int64),
        table.numbers["generated_tokens"].astype(np.int64),
        serving=serving or Serving(),
        given=given or Assumptions(),
        source=f"azure-llm-2023 {name}",
    )
