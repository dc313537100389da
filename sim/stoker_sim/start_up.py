"""Measured start-ups, as typed values with their source: what cold, swapped and loaded cost on real GPUs.

The table is data/profiles/cold_start_seconds.csv and serverlessllm_model_load.csv; Torpor's figures are facts from
its text. It knows no function and no simulation.
"""

from functools import cache

import numpy as np
from msgspec import Struct

from stoker_sim.traces.files import data_file
from stoker_sim.traces.table import numbers, read_table, texts

TORPOR = (
    'M. Yu et al., "Torpor: GPU-Enabled Serverless Computing for Low-Latency, Resource-Efficient Inference" (ATC\'25)'
)


class StartUp(Struct, frozen=True, kw_only=True):
    """What one model costs until it is warm, from each state. Torpor's node has V100 of 32 GB."""

    model: str
    cold_us: int
    """From nothing but the image."""
    swap_us: int
    """Weights from host memory over an idle bus."""
    resume_us: int
    """Of the runtime, after the swap."""
    source: str = TORPOR

    @property
    def hibernated_us(self) -> int:
        """From hibernated to warm on an idle bus."""
        return self.swap_us + self.resume_us


RESNET152 = StartUp(model="ResNet-152", cold_us=8_000_000, swap_us=30_000, resume_us=260_000)
BERT = StartUp(model="Bert", cold_us=11_000_000, swap_us=140_000, resume_us=190_000)
STABLE_DIFFUSION = StartUp(model="Stable Diffusion", cold_us=25_000_000, swap_us=240_000, resume_us=1_500_000)
LLAMA3_8B = StartUp(model="Llama3-8B", cold_us=48_000_000, swap_us=1_600_000, resume_us=1_400_000)
LLAMA2_13B = StartUp(model="Llama2-13B", cold_us=61_000_000, swap_us=2_500_000, resume_us=1_900_000)
TORPOR_START_UPS = (RESNET152, BERT, STABLE_DIFFUSION, LLAMA3_8B, LLAMA2_13B)


class Phase(Struct, frozen=True, kw_only=True):
    """One statistic of one phase of a start-up, as published."""

    source: str
    gpu: str
    model: str
    phase: str
    statistic: str
    """mean, std, min, max, value, or a percentile as in `p50`."""
    us: int


@cache
def phases() -> tuple[Phase, ...]:
    """All of cold_start_seconds.csv, in its order."""
    names = ("source", "gpu", "model", "phase", "statistic")
    table = read_table(
        data_file("profiles/cold_start_seconds.csv"),
        (*texts(*names, "licence", "source_path"), *numbers("seconds", unit="seconds")),
    )
    cells = (table.texts[name].cells() for name in names)
    return tuple(
        Phase(source=source, gpu=gpu, model=model, phase=phase, statistic=statistic, us=round(1e6 * seconds))
        for source, gpu, model, phase, statistic, seconds in zip(*cells, table.numbers["seconds"].tolist(), strict=True)
    )


def phase_us(source: str, phase: str, statistic: str, model: str = "") -> int:
    """The time of one of them; `model` is part of its name. KeyError where there is none."""
    for row in phases():
        if (row.source, row.phase, row.statistic) == (source, phase, statistic) and model in row.model:
            return row.us
    raise KeyError(f"{source}, {phase}, {statistic}, {model}")


@cache
def load_times_us(gpu: str, model: str, form: str, access: str = "random") -> tuple[int, ...]:
    """Every run of ServerlessLLM that loaded a model from storage, by run.

    `gpu` as in `H100-SXM`, `model` as in `Qwen_Qwen3-32B`, `form` is safetensors or sllm, `access` is random (several
    models in turn) or cached. Empty where it was not measured.
    """
    names = ("gpu", "model", "format", "access")
    table = read_table(
        data_file("profiles/serverlessllm_model_load.csv"),
        (
            *texts(*names),
            *numbers("run", whole=True),
            *numbers("load_s", unit="seconds"),
            *numbers("first_inference_s", "tokens_per_s", blank=True),
        ),
    )
    rows = np.logical_and.reduce(
        [table.texts[name].rows_of(value) for name, value in zip(names, (gpu, model, form, access), strict=True)]
    )
    return tuple(round(1e6 * seconds) for seconds in table.numbers["load_s"][rows].tolist())
