"""Where the project's own copies of public traces and tables live (stoker_sim/data, with ATTRIBUTION.md)."""

from importlib import resources
from pathlib import Path

DATA = Path(str(resources.files("stoker_sim"))) / "data"


def data_file(name: str) -> Path:
    """The path of a file of stoker_sim/data, as in `azure_llm_2023/conv.csv.gz`."""
    return DATA / name
