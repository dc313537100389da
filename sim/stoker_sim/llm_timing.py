"""How long a large language model takes for a prompt and an answer, from the measurements of Splitwise.

Source: P. Patel et al., "Splitwise: Efficient Generative LLM Inference Using Phase Splitting" (ISCA'24), performance
table of its simulator: prompt time by prompt size at batch 1, time of one token by batch size. Linear in between;
beyond the largest prompt measured (8,192 tokens) the last slope goes on, which is ours.
"""

from functools import cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.traces.files import data_file
from stoker_sim.traces.table import Table, numbers, read_table, texts
from stoker_sim.workload import Times

Tokens = NDArray[np.int64]

_COLUMNS = (
    *texts("model", "hardware"),
    *numbers("tensor_parallel", "prompt_size", "batch_size", "token_size", "n", whole=True),
    *numbers("prompt_ms", "token_ms", "e2e_ms", unit="milliseconds"),
    *numbers("peak_power_frac"),
)


class LlmTiming(Struct, frozen=True, kw_only=True):
    """A model on a group of GPUs that works as one device."""

    product: str
    """As in `8xA100-80GB`."""
    memory_mib: int
    """Of the whole group."""
    prompt_tokens: tuple[int, ...]
    prompt_us: tuple[int, ...]
    batches: tuple[int, ...]
    token_us: tuple[int, ...]
    source: str

    def exec_us(self, prompt: Tokens, generated: Tokens, batch: int = 1) -> Times:
        """Time of the whole answers, while `batch` of them are made at a time."""
        token = float(np.interp(batch, self.batches, self.token_us))
        return np.rint(self._prompt(prompt) + np.maximum(generated - 1, 0) * token).astype(np.int64)

    def beyond(self, prompt: Tokens) -> int:
        """How many of the prompts are longer than any that was measured."""
        return int((prompt > self.prompt_tokens[-1]).sum())

    def _prompt(self, tokens: Tokens) -> NDArray[np.float64]:
        last, before = self.prompt_tokens[-1], self.prompt_tokens[-2]
        slope = (self.prompt_us[-1] - self.prompt_us[-2]) / (last - before)
        return np.interp(tokens, self.prompt_tokens, self.prompt_us) + slope * np.maximum(tokens - last, 0)


@cache
def llama2_70b(gpu: str = "A100") -> LlmTiming:
    """Llama 2 70B on eight A100 or H100 of 80 GB (tensor parallel 8)."""
    table = read_table(data_file("profiles/splitwise_llm_perf.csv.gz"), _COLUMNS)
    mine = (
        table.texts["model"].rows_of("llama2-70b")
        & table.texts["hardware"].rows_of(f"{gpu.lower()}-80gb")
        & (table.numbers["tensor_parallel"] == 8)
    )
    prompts = mine & (table.numbers["batch_size"] == 1)
    batches = mine & (table.numbers["prompt_size"] == 512) & (table.numbers["token_size"] == 128)
    sizes, prompt_us = _medians(table, prompts, "prompt_size", "prompt_ms")
    counts, token_us = _medians(table, batches, "batch_size", "token_ms")
    return LlmTiming(
        product=f"8x{gpu}-80GB",
        memory_mib=8 * 81_920,
        prompt_tokens=sizes,
        prompt_us=prompt_us,
        batches=counts,
        token_us=token_us,
        source=f"Splitwise performance table: llama2-70b, {gpu} 80 GB, tensor parallel 8",
    )


def _medians(table: Table, rows: NDArray[np.bool_], by: str, column: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The distinct values of `by` among the rows, and the median of `column` for each, in microseconds."""
    keys, values = table.numbers[by][rows], table.numbers[column][rows]
    distinct = np.unique(keys)
    medians = [float(np.median(values[keys == key])) for key in distinct]
    return tuple(int(key) for key in distinct), tuple(round(1000 * median) for median in medians)
