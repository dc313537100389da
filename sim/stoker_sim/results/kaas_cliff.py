"""Where cGEMM's tenants fill the memory of four GPUs: by arithmetic, by simulation, and as measured.

Part of `kaas-pools`. Only cGEMM's buffers follow from published dimensions, so no other workload has a cliff here.
"""

from collections.abc import Mapping, Sequence

from stoker_sim.pools.buffers import Reserve
from stoker_sim.pools.executors import buffer_bytes
from stoker_sim.pools.footprint import BLOCK_BYTES, CGEMM, CONTEXT_MIB, MARGIN_MIB, Footprint
from stoker_sim.pools.simulate import PoolKind
from stoker_sim.results.kaas_study import BUS_BYTES_PER_S, Case, Rates, line, row
from stoker_sim.results.result import Chart, Claim, Part, Table, figure, judged, signed, spread
from stoker_sim.traces.kaas import DEVICE_MIB, GPUS, isolated

_WORKLOAD = "cGEMM"
_FALL = 0.8
"""Of the best so far: less is a fall."""
_LESS_MIB = 100
_CODED, _DESCRIBED = "as coded", "as described"
_LESS = f"as described, {_LESS_MIB} MiB less"
_RESERVES = {_CODED: Reserve.WHOLE, _DESCRIBED: Reserve.MISSING}
_ROOM = {_CODED: "all that it uses (as coded)", _DESCRIBED: "what a request misses (as described)"}


def cliff(rates: Rates, counts: Sequence[int]) -> Part:
    """`counts`: numbers of tenants around it."""
    theirs = {n: rates.published[key] for n in counts if (key := (_WORKLOAD, "kaas", n)) in rates.published}
    fell_at = falls_at(theirs)
    variants = {
        _CODED: _cases(counts, Reserve.WHOLE),
        _DESCRIBED: _cases(counts, Reserve.MISSING),
        "as coded, half the bus": _cases(counts, Reserve.WHOLE, bytes_per_s=BUS_BYTES_PER_S // 2),
        _LESS: _cases(counts, Reserve.MISSING, less_mib=_LESS_MIB),
    }
    found = {label: {case.tenants: rates.of(case) for case in cases} for label, cases in variants.items()}
    claims = []
    for label, reserve in _RESERVES.items():
        predicted, simulated = first_too_many(reserve), falls_at(found[label])
        claims.append(
            signed(
                f"cGEMM falls when memory runs out, room made for {_ROOM[label]}",
                published=f"falls at {fell_at} tenants",
                ours=f"arithmetic {predicted}, simulated {simulated}",
                holds=[n is not None and abs(n - predicted) <= 1 for n in (simulated, fell_at)],
            )
        )
    return Part(
        claims=(*claims, _past(found[_CODED], {n: told for n, told in theirs.items() if n >= (fell_at or 0)})),
        tables=(_near_the_edge(),),
        charts=(_chart(found, theirs),),
        findings=_findings(found[_LESS]),
        rows=tuple(row(rates, "cliff", case, label) for label, cases in variants.items() for case in cases),
    )


def first_too_many(reserve: Reserve, *, less_mib: int = 0, needs: Footprint = CGEMM) -> int:
    """By arithmetic alone: so many tenants are one more than the GPUs hold. `less_mib`: memory that is not there."""
    return GPUS * needs.tenants_on(_capacity() - (less_mib << 20), reserve) + 1


def spare_mib(reserve: Reserve) -> float:
    """How much less memory for buffers a GPU could have before that number changed."""
    beside = CGEMM.whole if reserve is Reserve.WHOLE else CGEMM.inputs
    return ((_capacity() - beside) % CGEMM.resident) / (1 << 20)


def falls_at(rates: Mapping[int, float]) -> int | None:
    """The first number of tenants that are served less than _FALL of the best so far; None: none."""
    best = 0.0
    for count, served in sorted(rates.items()):
        if served < _FALL * best:
            return count
        best = max(best, served)
    return None


def _capacity() -> int:
    return buffer_bytes(DEVICE_MIB, CONTEXT_MIB, MARGIN_MIB)


def _cases(
    counts: Sequence[int], reserve: Reserve, *, bytes_per_s: int = BUS_BYTES_PER_S, less_mib: int = 0
) -> list[Case]:
    return [
        Case(
            workload=_WORKLOAD,
            tenants=count,
            kind=PoolKind.AFFINITY,
            reserve=reserve,
            bytes_per_s=bytes_per_s,
            less_mib=less_mib,
        )
        for count in counts
    ]


def _past(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Claim:
    factors = [ours[count] / told for count, told in theirs.items()]
    return Claim(
        what="cGEMM past the cliff (as coded), requests per second from there to 32 tenants",
        published=", ".join(map(figure, theirs.values())),
        ours=f"{', '.join(figure(ours[count]) for count in theirs)} ({spread(factors, 2)} of it)",
        verdict=judged(factors),
    )


def _near_the_edge() -> Table:
    blocks = CGEMM.in_blocks(BLOCK_BYTES)
    rows = [("as accounted", *(str(first_too_many(reserve)) for reserve in _RESERVES.values()))]
    rows.append(
        (
            f"buffers in blocks of {BLOCK_BYTES >> 20} MiB",
            *(str(first_too_many(reserve, needs=blocks)) for reserve in _RESERVES.values()),
        )
    )
    rows += [
        (
            f"{less} MiB less for buffers",
            *(str(first_too_many(reserve, less_mib=less)) for reserve in _RESERVES.values()),
        )
        for less in (50, _LESS_MIB, 2 * _LESS_MIB)
    ]
    return Table(
        title="At how many tenants cGEMM falls by arithmetic",
        head=("memory", *_RESERVES),
        rows=tuple(rows),
        foot=f"One more than {GPUS} GPUs hold.",
    )


def _chart(found: Mapping[str, Mapping[int, float]], theirs: Mapping[int, float]) -> Chart:
    return Chart(
        name="cliff",
        title="cGEMM where device memory runs out",
        caption="""Requests per second of all tenants together. As KaaS is described room is made for the buffers that
        a request misses, as it is coded for all that it uses; and how that changes with the bus and with the memory
        that is left for buffers.""",
        x_label="tenants",
        y_label="requests/s",
        series=(
            line("published", theirs, is_published=True),
            *(line(label, rates) for label, rates in found.items()),
        ),
    )


def _findings(less: Mapping[int, float]) -> tuple[str, ...]:
    falls = {label: first_too_many(reserve) for label, reserve in _RESERVES.items()}
    spare = {label: figure(spare_mib(reserve), 2) for label, reserve in _RESERVES.items()}
    bert_mib = isolated()["bert", "kaas"].memory_mib - CONTEXT_MIB
    bert_holds = (DEVICE_MIB - CONTEXT_MIB - MARGIN_MIB) // bert_mib
    return (
        f"""The public code makes room for all buffers of a request: it looks residents up by their key
        (`makeRoomForBufs`) but stores them under client, name and key, and `load` makes room for a buffer before it
        asks whether it is there. So a GPU needs one whole working set free beside the residents, and cGEMM falls at
        {falls[_CODED]} tenants instead of {falls[_DESCRIBED]}.""",
        f"""Which of the two fits the measurement hangs on little memory: with {spare[_CODED]} MiB less for buffers
        the one as coded, with {spare[_DESCRIBED]} MiB less the one as described would lose a tenant on each GPU. With
        {_LESS_MIB} MiB less the simulation as described falls at {falls_at(less)} too. The sizes are the authors'
        own, and the driver's blocks do not change them much (table); more than that is not known.""",
        f"""bert holds {bert_mib:,} MiB of buffers while it runs in KaaS. If all of it outlived a request, a GPU would
        hold {bert_holds} tenants and throughput would fall at {GPUS * bert_holds + 1}; it was measured to 32 without
        a fall. Which of its buffers stay is not published, so no cliff is claimed for bert, resnet50 and jacobi:
        their memory is left out.""",
    )
