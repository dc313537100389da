"""`torpor-density`: how many functions four GPUs hold within their objectives when models are swapped.

Source: Torpor (M. Yu et al., ATC'25; earlier FaaSwap, arXiv 2306.03622), section on density. Swaps, copies between GPUs
and priorities by required requests against functions that own their device memory, and against keep-alive.
"""

from collections.abc import Sequence

from stoker_sim.results.result import (
    Chart,
    Claim,
    Part,
    Result,
    Series,
    Table,
    banded,
    composed,
    hanging,
    spread,
)
from stoker_sim.results.torpor_study import (
    FIFO,
    LOW_RATES,
    LRU,
    MIXES,
    MOST_MINUTES,
    NO_COPIES,
    PUBLISHED_RATES,
    WARM_UP_MINUTES,
    Cell,
    Rates,
    study,
)

NAME = "torpor-density"
_ALL = 0.95
"""From this share on all count as complying (ours): a few of many that miss 2 % by a hair are chance."""
_SMALL, _LARGE = 160, 320
"""Functions at the published rates: as published, and so many that not all can comply."""
_MIX = "the mix of models and the distribution of their rates"
_KEPT = "the keep-alive of the INFless baseline and the memory of its processes"
_MEMORY = "the memory of the authors' processes"


def make(*, small: bool = False) -> Result:
    """`small`: 160 functions, one mix and a few minutes, for tests."""
    found = _Found(study(small=small))
    return composed(
        (
            Part(claims=(*_density(found), *_baselines(found), *_ablated(found))),
            Part(tables=(_table(found),), charts=(_chart(found),), findings=_findings(found)),
            Part(rows=tuple(map(_row, found.cells))),
        ),
        name=NAME,
        title="Torpor: how many functions four GPUs hold within their objectives",
        source="""M. Yu et al., "Torpor: GPU-Enabled Serverless Computing for Low-Latency, Resource-Efficient
        Inference" (ATC'25; earlier FaaSwap, arXiv 2306.03622), its text.""",
        text=_TEXT,
        assumptions=_INPUTS,
    )


class _Found:
    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells

    def of(self, way: str, functions: int, rates: Rates = PUBLISHED_RATES) -> list[Cell]:
        """By the share of heavy models."""
        return [c for c in self.cells if (c.way, c.functions, c.rates) == (way, functions, rates.label)]


def _density(found: _Found) -> list[Claim]:
    claims = []
    for functions, rates, least in ((_SMALL, PUBLISHED_RATES, _ALL), (480, LOW_RATES, _ALL), (560, LOW_RATES, 0.8)):
        cells = found.of("torpor", functions, rates)
        if cells:
            claims.append(
                hanging(
                    f"{functions} functions: {'all' if least == _ALL else 'more than 80 %'} comply",
                    published=str(functions) if least == _ALL else f"more than {0.8 * functions:.0f}",
                    ours=f"{_counts([c.compliant for c in cells])} at {rates.label}{_mixes(cells)}",
                    holds=[c.compliant >= least * functions for c in cells],
                    missing=_MIX,
                )
            )
    return claims


def _baselines(found: _Found) -> list[Claim]:
    torpor = found.of("torpor", _SMALL)
    claims = []
    for way, told, missing in (("native", 72, _MEMORY), ("keep-alive", 7, _KEPT)):
        cells = found.of(way, _SMALL)
        kept = [c.compliant for c in cells]
        claims.append(
            banded(
                f"{_SMALL} functions, {way}: so many {'run' if way == 'native' else 'comply'}",
                published=str(told),
                ours=f"{_counts([c.run for c in cells] if way == 'native' else kept)}{_mixes(cells)}",
                factors=[(c.run if way == "native" else max(c.compliant, 0.5)) / told for c in cells],
                missing=missing,
            )
        )
        claims.append(
            hanging(
                f"fewer functions comply with {way} than with swapping",
                published=f"{told} instead of {_SMALL}",
                ours=f"{_counts(kept)} instead of {_counts([c.compliant for c in torpor])}",
                holds=[theirs < mine.compliant for theirs, mine in zip(kept, torpor, strict=True)],
                missing=missing,
            )
        )
    return claims


def _ablated(found: _Found) -> list[Claim]:
    claims = []
    for way in (FIFO, LRU):
        both = zip(found.of(way.name, _LARGE), found.of("torpor", _LARGE), strict=True)
        pairs = [pair for pair in both if pair[1].compliant]
        if pairs:
            theirs, mine = ([pair[at].compliant for pair in pairs] for at in (0, 1))
            mixes = _mixes([cell for cell, _ in pairs])
            claims.append(
                hanging(
                    f"fewer comply with {way.meaning}",
                    published="yes",
                    ours=f"{_counts(theirs)} instead of {_counts(mine)}, {_LARGE} functions, where any do{mixes}",
                    holds=[other < own for other, own in zip(theirs, mine, strict=True)],
                    missing=_MIX,
                )
            )
    return claims


def _counts(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))


def _mixes(cells: Sequence[Cell]) -> str:
    return f" ({', '.join(f'{c.heavy:.0%}' for c in cells)} of the models heavy)" if len(cells) > 1 else ""


def _table(found: _Found) -> Table:
    return Table(
        title="All runs",
        head=("functions", "heavy", "requests of each", "way", "run", "comply", "load", "swaps"),
        rows=tuple(
            (
                str(c.functions),
                f"{c.heavy:.0%}",
                c.rates,
                c.way,
                str(c.run),
                str(c.compliant),
                f"{c.load:.2f}",
                f"{c.swaps:.0%}",
            )
            for c in found.cells
        ),
        foot="Load is warm execution time over four GPUs; swaps are requests that waited for their model.",
    )


def _chart(found: _Found) -> Chart:
    lines = [Series(label="published", x=(160.0, 480.0, 560.0), y=(100.0, 100.0, 80.0), published=True, points=True)]
    for rates in (PUBLISHED_RATES, LOW_RATES):
        for heavy in dict.fromkeys(c.heavy for c in found.cells):
            cells = sorted(
                (c.functions, c.compliant / c.functions)
                for c in found.cells
                if (c.way, c.rates, c.heavy) == ("torpor", rates.label, heavy)
            )
            if cells:
                lines.append(
                    Series(
                        label=f"{rates.label}, {heavy:.0%} heavy",
                        x=tuple(float(n) for n, _ in cells),
                        y=tuple(100 * share for _, share in cells),
                    )
                )
    return Chart(
        name="functions",
        title="Functions that comply, over how many there are",
        caption="""Models swapped, queue `rrc`, eviction `light-first`. Which models and which rates the authors had
        is not published.""",
        x_label="functions on four GPUs",
        y_label="comply, %",
        series=tuple(lines),
    )


def _findings(found: _Found) -> tuple[str, ...]:
    torpor, apart = found.of("torpor", _SMALL), found.of(NO_COPIES.name, _SMALL)
    texts = [
        f"""A model is on one GPU at a time and is copied from there: {_counts([c.compliant for c in torpor])} of
        {_SMALL} functions comply{_mixes(torpor)}. Without copies between GPUs models gather on several of them,
        memory overflows, and all wait for the bus of a switch: {_counts([c.compliant for c in apart])}."""
    ]
    kept = found.of("keep-alive", _SMALL)
    texts.append(
        f"""Kept alive in processes of their own, {spread([100 * c.swaps for c in kept], 2)} % of the requests start
        from cold, so that {_counts([c.compliant for c in kept])} functions have 98 % in time."""
    )
    large = found.of("torpor", _LARGE)
    if large:
        loads = [c.load for c in large]
        texts.append(
            f"""At the published rates {_LARGE} functions are a load of {spread(loads, 2)} on four GPUs, and 560 would
            be {spread([560 / _LARGE * load for load in loads], 2)}: the published 480 and 560 need lower rates or
            shorter models than these. {LOW_RATES.label} is ours."""
        )
    return tuple(texts)


def _row(cell: Cell) -> dict[str, str | int | float | None]:
    return {
        "functions": cell.functions,
        "heavy": cell.heavy,
        "rates": cell.rates,
        "way": cell.way,
        "run": cell.run,
        "compliant": cell.compliant,
        "load": cell.load,
        "swap_ratio": cell.swaps,
    }


_TEXT = (
    """Functions with Poisson arrivals share four V100 of 32 GB, two on each PCIe switch. Models idle in host memory
    and are swapped to any GPU that is free; one that is on another GPU is copied from there. The queue is the
    platform's own `rrc`, eviction its `light-first`. A function complies with 98 % of its requests within 80 ms
    (light models) or 200 ms (heavy ones).""",
    """`native`: each function has a process on one GPU for itself. `keep-alive`: processes that start from cold and
    stay until their memory is needed.""",
    f"""Which models in which shares is not published. So there are {len(MIXES)} mixes, and a claim counts as made
    again only if it holds for all of them, as different if for none, and else as hanging on what is missing.""",
)
_INPUTS = (
    """Light model: 30 ms, 27 ms with its swap (DenseNet, Torpor), so that a swap is free and takes nothing of the
    bus; 230 MiB (ResNet-152's parameters). Heavy model: 42 ms, 144 ms with its swap (Bert-qa, Torpor); 1,297 MiB
    (Bert large's parameters). The share of heavy ones is ours.""",
    """Rates: 5 to 30 requests a minute and function, evenly drawn (the distribution is not published); 5 to 10 for
    the larger numbers.""",
    """PCIe 12,000 MiB/s for each switch of two GPUs (Clockwork's 12.2 GB/s on a V100); NVLink 50 GB/s between any two
    (two links of 25 GB/s).""",
    f"""Native and keep-alive processes hold a context of 1,500 MB (StreamBox) beside the model; cold starts 8 and 11
    s (Torpor). {MOST_MINUTES - WARM_UP_MINUTES} minutes after {WARM_UP_MINUTES} of warm-up.""",
    """Placement takes a free GPU that has the model, else the least loaded one; Torpor's look at what a GPU's
    neighbour loads is left out, and so is its ablation with random placement.""",
)
