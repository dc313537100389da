"""`torpor-density`: how many functions four GPUs hold within their objectives when models are swapped.

Source: Torpor (M. Yu et al., ATC'25; earlier FaaSwap, arXiv 2306.03622), section on density. Swaps, copies between GPUs
and priorities by required requests against functions that own their device memory, and against keep-alive.
"""

from collections.abc import Sequence

from stoker_sim.results.result import Chart, Claim, Result, Series, Table, Verdict, judged
from stoker_sim.results.torpor_study import ABLATIONS, LOW_RATES, PUBLISHED_RATES, Cell, Rates, study

NAME = "torpor-density"


def make(*, small: bool = False) -> Result:
    """`small`: 160 functions and a few minutes, for tests."""
    return _Report(study(small=small)).result()


class _Report:
    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells

    def result(self) -> Result:
        return Result(
            name=NAME,
            title="Torpor: how many functions four GPUs hold within their objectives",
            source='M. Yu et al., "Torpor: GPU-Enabled Serverless Computing for Low-Latency, Resource-Efficient Inference" '
            "(ATC'25; FaaSwap, arXiv 2306.03622; research notes 4.1).",
            text=(
                "Functions with Poisson arrivals share four V100 of 32 GB, two on each PCIe switch. Models idle in host memory and are "
                "swapped to any GPU that is free; one that is on another GPU is copied from there. The queue is the platform's own "
                "`rrc`, eviction its `light-first`. A function complies with 98 % of its requests within 80 ms (light models) or "
                "200 ms (heavy ones).",
                "`native`: each function has a process on one GPU for itself. `keep-alive`: processes that start from cold and stay "
                "until their memory is needed.",
            ),
            claims=self._claims(),
            tables=(self._table(),),
            charts=(self._chart(),),
            findings=_FINDINGS,
            assumptions=_INPUTS,
            rows=tuple(
                {"functions": c.functions, "heavy": c.heavy, "rates": c.rates, "way": c.way, "run": c.run,
                 "compliant": c.compliant, "load": c.load, "swap_ratio": c.swaps}
                for c in self._cells
            ),
        )  # fmt: skip

    def _of(self, way: str, functions: int, rates: Rates = PUBLISHED_RATES) -> list[Cell]:
        return [c for c in self._cells if (c.way, c.functions, c.rates) == (way, functions, rates.label)]

    def _claims(self) -> tuple[Claim, ...]:
        claims = [
            self._count("160 functions: all comply", 160, [c.compliant for c in self._of("torpor", 160)], ""),
            self._count(
                "160 functions, native: so many run and comply", 72, [c.compliant for c in self._of("native", 160)], ""
            ),
            self._count(
                "160 functions, keep-alive: so many comply",
                7,
                [c.compliant for c in self._of("keep-alive", 160)],
                _KEPT,
            ),
        ]
        for functions, told in ((480, 480), (560, 448)):
            found = self._of("torpor", functions, LOW_RATES)
            if found:
                claims.append(
                    self._count(
                        f"{functions} functions: {'all' if told == functions else 'more than 80 %'} comply",
                        told,
                        [c.compliant for c in found],
                        _MIX,
                    )
                )
        claims += self._ablated()
        return tuple(claims)

    @staticmethod
    def _count(what: str, told: int, counts: Sequence[int], missing: str) -> Claim:
        factors = [max(count, 0.5) / told for count in counts]
        return Claim(
            what=what,
            published=str(told) if "more" not in what else f"> {told}",
            ours=", ".join(map(str, counts)) + (" (10, 25, 50 % of the models heavy)" if len(counts) > 1 else ""),
            verdict=judged(factors, missing),
            missing=missing,
        )

    def _ablated(self) -> list[Claim]:
        claims = []
        for way in ABLATIONS[:-1]:
            pairs = [
                (mine, theirs)
                for functions in (160, 320)
                for theirs in self._of(way.name, functions)
                for mine in self._of("torpor", functions)
                if mine.heavy == theirs.heavy
            ]
            if pairs:
                worse = [theirs.compliant < mine.compliant for mine, theirs in pairs]
                claims.append(
                    Claim(
                        what=f"fewer comply with {way.name}",
                        published="yes",
                        ours="; ".join(
                            f"{theirs.functions} functions, {theirs.heavy:.0%} heavy: {theirs.compliant} instead of {mine.compliant}"
                            for mine, theirs in pairs
                        ),
                        verdict=Verdict.REPRODUCED if any(worse) else Verdict.DIFFERENT,
                    )
                )
        return claims

    def _table(self) -> Table:
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
                for c in self._cells
            ),
            foot="Load is warm execution time over four GPUs.",
        )

    def _chart(self) -> Chart:
        lines = []
        for rates in (PUBLISHED_RATES, LOW_RATES):
            for heavy in dict.fromkeys(c.heavy for c in self._cells):
                cells = sorted(
                    (c.functions, c.compliant / c.functions)
                    for c in self._cells
                    if c.way == "torpor" and c.rates == rates.label and c.heavy == heavy
                )
                if cells:
                    lines.append(
                        Series(
                            label=f"{rates.label}, {heavy:.0%} heavy",
                            x=tuple(float(n) for n, _ in cells),
                            y=tuple(100 * share for _, share in cells),
                        )
                    )
        told = Series(label="published", x=(160.0, 480.0, 560.0), y=(100.0, 100.0, 80.0), published=True, points=True)
        return Chart(
            name="density",
            title="Functions that comply, over how many there are",
            caption="Models swapped, queue `rrc`, eviction `light-first`. Which models and which rates the authors had is not published.",
            x_label="functions on four GPUs",
            y_label="comply, %",
            series=(told, *lines),
        )


_MIX = "the mix of models and the distribution of their rates"
_KEPT = "the keep-alive of the INFless baseline and the memory of its processes"
_FINDINGS = (
    "What makes 160 functions comply is that a model is on one GPU at a time and is copied from there. Without copies between GPUs models "
    "gather on several of them, memory overflows and the bus of a switch is what all wait for.",
    "With 5 to 30 requests a minute evenly drawn, 320 functions are three quarters of what four GPUs can execute, and 560 would be more "
    "than all of it: the published 480 and 560 need lower rates or shorter models than these.",
    "`rrc` gives up functions that cannot comply any more for those that can: beyond what fits it keeps functions compliant where fcfs "
    "lets all miss.",
)
_INPUTS = (
    "Light model: 30 ms, 27 ms with its swap (DenseNet, Torpor), so that a swap is free; 230 MiB (ResNet-152's parameters). Heavy model: "
    "42 ms, 144 ms with its swap (Bert-qa, Torpor); 1,297 MiB (Bert large's parameters). The share of heavy ones is ours: 10, 25 and 50 %.",
    "Rates: 5 to 30 requests a minute and function, evenly drawn (the distribution is not published); 5 to 10 for the larger numbers.",
    "PCIe 12,000 MiB/s for each switch of two GPUs (Clockwork's 12.2 GB/s on a V100); NVLink 50 GB/s between any two (two links of 25 GB/s).",
    "Native and keep-alive processes hold a context of 1,500 MB (StreamBox) beside the model; cold starts 8 and 11 s (Torpor). 30 minutes "
    "after 2 of warm-up, so that the rarest function has 150 requests.",
)
