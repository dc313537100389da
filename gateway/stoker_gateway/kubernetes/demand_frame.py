"""What a gateway tells the operator: its demand, with times as ages."""

from collections.abc import Mapping

from stoker.model.demand import Demand, VariantDemand
from stoker.wire.cluster import DemandFrame, SloReport, VariantDemandReport


def demand_frame(
    seq: int, gateway: str, demand: Demand, attained: Mapping[str, tuple[int, int, int]], now_us: int
) -> DemandFrame:
    """One line of `/v1/demand`. `attained` is offered, on time and diverted by function."""
    return DemandFrame(
        seq=seq,
        gateway=gateway,
        functions={
            key: {variant: _report(wanted, now_us) for variant, wanted in variants.items()}
            for key, variants in demand.items()
        },
        slo={
            key: SloReport(offered=offered, on_time=on_time, diverted=diverted)
            for key, (offered, on_time, diverted) in attained.items()
        },
    )


def _report(wanted: VariantDemand, now_us: int) -> VariantDemandReport:
    return VariantDemandReport(
        held=wanted.held,
        in_system=wanted.in_system,
        last_wake_ms=_age_ms(wanted.last_wake_us, now_us),
        oldest_held_ms=_age_ms(wanted.oldest_held_us, now_us),
        arrivals=wanted.arrivals,
    )


def _age_ms(at_us: int | None, now_us: int) -> int | None:
    return None if at_us is None else max(0, now_us - at_us) // 1000
