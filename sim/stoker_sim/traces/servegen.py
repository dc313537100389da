"""ServeGen: how often each client of a production LLM service asks, window by window, over days.

Source: Y. Xiang et al., "ServeGen: Workload Characterization and Generation of Large Language Model Serving in
Production" (2025): for each client and 600 s, a rate and the distribution of the times between its requests. Requests
are drawn here as the authors say: rate x 600 gaps of that distribution, stretched to fill the window. The models are
not named; times are those of another one (traces.llm_requests), and many clients publish no lengths.
"""

from functools import cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.assumptions import Assumptions
from stoker_sim.draws import Z99, Reals, generator, key_of, normals
from stoker_sim.llm_timing import llama2_70b
from stoker_sim.traces.bad_trace import BadTrace
from stoker_sim.traces.by_function import renamed
from stoker_sim.traces.files import data_file
from stoker_sim.traces.llm_requests import Serving, of_answers
from stoker_sim.traces.table import Table, numbers, read_table, texts
from stoker_sim.workload import Times, Workload

WINDOW_S = 600
MOST_REQUESTS = 20_000_000
"""That one call makes: the busiest model asks a thousand times a second for four days."""
MODELS = ("m-small", "m-large", "deepseek-r1", "mm-image")

_WINDOWS = "servegen_llm_clients/client_windows.csv.gz"
_TOKENS = "servegen_llm_clients/client_tokens.csv.gz"


class Lengths(Struct, frozen=True, kw_only=True):
    """Tokens of the requests of one client; lognormal (ours) through the two published quantiles."""

    input_p50: float
    input_p99: float
    output_p50: float
    output_p99: float


def load(
    model: str,
    given: Assumptions | None = None,
    serving: Serving | None = None,
    *,
    begin_s: int = 0,
    end_s: int = 3600,
    rate: float = 1.0,
    clients: frozenset[int] | None = None,
) -> Workload:
    """The clients of one of MODELS (or some of them) in the windows that begin in this time, as functions `MODEL/cN`.

    The time is widened to whole windows. `rate` scales every client's rate, and keeps the kind of its gaps. Raises
    BadTrace.
    """
    given, serving = given or Assumptions(), serving or Serving()
    begin_s, end_s = begin_s // WINDOW_S * WINDOW_S, -(-end_s // WINDOW_S) * WINDOW_S
    table = _windows()
    path = table.path
    if model not in MODELS:
        raise BadTrace(path, f"has no model {model!r}", f"give one of {', '.join(MODELS)}", column="model")
    begins, whose = table.numbers["window_start_s"].astype(np.int64), table.numbers["client"].astype(np.int64)
    chosen = table.texts["model"].rows_of(model) & (begins >= begin_s) & (begins < end_s)
    if clients is not None:
        chosen &= np.isin(whose, sorted(clients))
    rows = np.flatnonzero(chosen)
    expected = float(table.numbers["rate_rps"][rows].sum()) * WINDOW_S * rate
    if not len(rows) or expected < 1:
        raise BadTrace(path, f"no client of {model} asks in this time", "give a longer one, or other clients")
    if expected > MOST_REQUESTS:
        raise BadTrace(
            path, f"this would be {expected:.0f} requests", f"ask for less time, fewer clients or a rate below {rate:g}"
        )
    rows = rows[np.lexsort((begins[rows], whose[rows]))]
    gamma = table.texts["iat_dist"].rows_of("Gamma")
    times = [
        begins[row] * 1_000_000
        + _arrivals(
            float(table.numbers["rate_rps"][row]) * rate,
            float(table.numbers["shape"][row]),
            generator(given.seed, "servegen", f"{model}/{whose[row]}/{begins[row]}"),
            gamma=bool(gamma[row]),
        )
        for row in rows
    ]
    client_of = np.repeat(whose[rows], [len(part) for part in times])
    time_us = np.concatenate(times) - begin_s * 1_000_000
    exec_us, unknown = _exec_us(model, client_of, serving, given)
    index, found = renamed(client_of)
    return of_answers(
        model,
        [f"c{client}" for client in found],
        (time_us, index, exec_us),
        serving,
        given,
        horizon_us=(end_s - begin_s) * 1_000_000,
        source=f"servegen {model}",
        arrival_notes=(f"requests are drawn from published rates and gaps (seed {given.seed})",),
        function_notes=(
            "the real models of the trace are not named",
            f"{unknown} of {len(found)} clients publish no lengths and have those of the median client",
        ),
    )


@cache
def lengths(model: str) -> dict[int, Lengths]:
    """Of the clients whose lengths are published, over all of their windows."""
    quantiles = tuple(f"{kind}_tokens_{at}" for kind in ("input", "output") for at in ("p50", "p99"))
    others = tuple(f"{kind}_tokens_{at}" for kind in ("input", "output") for at in ("mean", "p90"))
    table = read_table(
        data_file(_TOKENS),
        (
            *texts("model"),
            *numbers("client", "window_start_s", whole=True),
            *numbers(*quantiles, *others, unit="tokens", blank=True),
        ),
    )
    mine = table.texts["model"].rows_of(model)
    found = {}
    for client in np.unique(table.numbers["client"][mine]):
        rows = mine & (table.numbers["client"] == client)
        middle = [float(np.median(table.numbers[name][rows])) for name in quantiles]
        found[int(client)] = Lengths(
            input_p50=middle[0], input_p99=middle[1], output_p50=middle[2], output_p99=middle[3]
        )
    return found


@cache
def _windows() -> Table:
    return read_table(
        data_file(_WINDOWS),
        (
            *texts("model", "iat_dist"),
            *numbers("client", "window_start_s", whole=True),
            *numbers("rate_rps", "iat_cv", "shape", "scale"),
        ),
    )


def _arrivals(per_second: float, shape: float, draw: np.random.Generator, *, gamma: bool) -> Times:
    """Microseconds from the beginning of a window."""
    count = int(per_second * WINDOW_S + draw.random())
    gaps = draw.standard_gamma(shape, count + 1) if gamma else draw.weibull(shape, count + 1)
    ends: Reals = np.cumsum(gaps)
    if not ends[-1] > 0:
        return np.zeros(count, np.int64)
    times: Times = np.minimum(np.floor(ends[:-1] * (WINDOW_S * 1e6 / ends[-1])), WINDOW_S * 1e6 - 1).astype(np.int64)
    return times


def _exec_us(model: str, client_of: NDArray[np.int64], serving: Serving, given: Assumptions) -> tuple[Times, int]:
    """Of each request, and how many clients publish no lengths."""
    timing = serving.timing or llama2_70b()
    known = lengths(model)
    usual = _usual([*known.values(), *lengths("m-small").values()])
    exec_us = np.empty(len(client_of), np.int64)
    unknown = 0
    for client in np.unique(client_of).tolist():
        mine = np.flatnonzero(client_of == client)
        its = known.get(client, usual)
        unknown += client not in known
        key = key_of(given.seed, "tokens", f"{model}/{client}")
        number = np.arange(len(mine))
        prompt = _tokens(its.input_p50, its.input_p99, usual.input_p50, normals(key, number))
        answer = _tokens(its.output_p50, its.output_p99, usual.output_p50, normals(key, number, lane=1))
        exec_us[mine] = timing.exec_us(prompt, answer, serving.batch)
    return exec_us, unknown


def _tokens(p50: float, p99: float, otherwise: float, normal: Reals) -> NDArray[np.int64]:
    """Lognormal lengths from standard normal draws; of an unpublished median the other one, without spread."""
    middle, most = (max(p50, 1.0), p99) if np.isfinite(p50) else (otherwise, otherwise)
    sigma = np.log(max(most / middle, 1.0)) / Z99
    drawn: NDArray[np.int64] = np.maximum(np.rint(middle * np.exp(sigma * normal)), 1).astype(np.int64)
    return drawn


def _usual(published: list[Lengths]) -> Lengths:
    """The median client."""
    return Lengths(
        **{
            name: float(np.nanmedian([getattr(one, name) for one in published]))
            for name in ("input_p50", "input_p99", "output_p50", "output_p99")
        }
    )
