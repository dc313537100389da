"""Requests to a language model as a workload: what the loaders of such traces share.

A request is a prompt and an answer of so many tokens; how long it takes comes from stoker_sim.llm_timing. The traces
name no tenants: requests are dealt to several functions at random where a study needs more than one.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from stoker_sim.arrangement import arranged
from stoker_sim.assumptions import Assumptions, declared
from stoker_sim.draws import key_of, uniforms
from stoker_sim.llm_timing import LlmTiming, Tokens, llama2_70b
from stoker_sim.start_up import LLAMA2_13B
from stoker_sim.traces.by_function import largest_of, medians_of, renamed
from stoker_sim.workload import Behaviour, Indexes, Times, Workload


class Serving(Struct, frozen=True, kw_only=True):
    """How the model is served."""

    timing: LlmTiming | None = None
    """None: Llama 2 70B on eight A100."""
    batch: int = 16
    """Answers that one replica makes at a time: its concurrency. Each then takes as long as in a full batch."""
    functions: int = 1
    """Equal functions that the requests are dealt to."""
    start_us: int = LLAMA2_13B.cold_us
    """The longest that was measured of a whole cold start; that of a larger model is longer."""


def llm_workload(
    name: str,
    time_us: Times,
    prompt: Tokens,
    generated: Tokens,
    *,
    serving: Serving,
    given: Assumptions,
    source: str,
    arrival_notes: Sequence[str] = (),
    function_notes: Sequence[str] = (),
) -> Workload:
    """Functions `llm/NAME-0`, `llm/NAME-1` and so on (just `llm/NAME` for one)."""
    timing = serving.timing or llama2_70b()
    exec_us = timing.exec_us(prompt, generated, serving.batch)
    dealt = uniforms(key_of(given.seed, "deal", name), np.arange(len(time_us))) * serving.functions
    index, which = renamed(np.floor(dealt).astype(np.int64))
    names = [name if serving.functions == 1 else f"{name}-{number}" for number in which]
    said = list(function_notes)
    beyond = timing.beyond(prompt)
    if beyond:
        said.append(f"{beyond} of {len(prompt)} prompts are longer than any measured one; their times are extrapolated")
    if serving.functions > 1:
        said.append(f"requests are dealt to {serving.functions} functions at random (seed {given.seed})")
    return of_answers(
        "llm",
        names,
        (time_us, index, exec_us),
        serving,
        given,
        source=source,
        arrival_notes=arrival_notes,
        function_notes=said,
    )


def of_answers(
    namespace: str,
    names: Sequence[str],
    columns: tuple[Times, Indexes, Times],
    serving: Serving,
    given: Assumptions,
    *,
    horizon_us: int | None = None,
    source: str,
    arrival_notes: Sequence[str],
    function_notes: Sequence[str],
) -> Workload:
    """A workload of requests (time, function, execution time) to functions that all serve the model.

    Each request has its own objective, so many times its own isolated time: answers of 5 and of 5,000 tokens cannot
    share one.
    """
    timing = serving.timing or llama2_70b()
    time_us, index, exec_us = columns
    slo_us = np.maximum(np.rint(exec_us * given.slo_factor), 1).astype(np.int64)
    medians, objectives = medians_of(index, exec_us, len(names)), medians_of(index, slo_us, len(names))
    longest = largest_of(index, slo_us, len(names))
    as_served = replace(given, concurrency=serving.batch)
    functions = [
        declared(
            namespace,
            name,
            Behaviour(exec_us={timing.product: int(medians[at])}, cold_us=serving.start_us, swap_mib=timing.memory_mib),
            as_served,
            memory_mib=timing.memory_mib,
            slo_us=int(objectives[at]),
            longest_us=int(longest[at]),
        )
        for at, name in enumerate(names)
    ]
    return arranged(
        functions,
        time_us,
        index,
        exec_us,
        horizon_us=horizon_us,
        slo_us=slo_us,
        source=source,
        arrival_notes=arrival_notes,
        function_notes=(
            f"execution times are those of {timing.source}, in batches of {serving.batch}",
            f"each request has an objective of {given.slo_factor:g} times its own isolated time",
            f"a start-up takes {serving.start_us / 1e6:g} s",
            *function_notes,
        ),
    )
