"""Figures of requests: who was on time, who waited, who was cold, in all three views.

attainment = on time / offered; conditional = on time / promised to be; cold attainment = within coldLatency (default:
the timeout) / cold. Wait is arrival to dispatch, of those that were dispatched; what of it was spent in the gateway
because no replica was warm is no wait in the queue. The cold part is that and the start-up in the slot, after dispatch.
"""

import numpy as np

from stoker_sim.evaluate.sample import Flags, Reals, Sample
from stoker_sim.evaluate.weighting import Group, PerView, View

Values = dict[str, float | None]

SUFFIX = {View.REQUESTS: "", View.FUNCTIONS: "_by_function", View.REST: "_rest"}
"""How the name of a figure goes on in each view."""


def quality(sample: Sample) -> Values:
    """By name, each in the three views; times are milliseconds."""
    part = sample.requests
    function, on_time = part.function, part.on_time
    everyone, promised, cold = Group(function), Group(function, part.promised), Group(function, part.cold)
    dispatched = Group(function, part.dispatch_us >= 0)
    started = Group(function, np.logical_and(part.cold, part.dispatch_us >= 0))
    served = Group(function, part.served)
    wait_ms, queue_ms = part.wait_us / 1000, (part.wait_us - part.held_us) / 1000
    cold_ms, latency_ms = (part.held_us + part.start_us) / 1000, (part.finish_us - part.arrival_us) / 1000
    figures: dict[str, PerView] = {
        "attainment": everyone.mean(on_time),
        "conditional_attainment": promised.mean(on_time),
        "cold_attainment": cold.mean(_on_time_cold(sample)),
        "cold_ratio": everyone.mean(part.cold),
        "wait_mean_ms": dispatched.mean(wait_ms),
        "wait_p50_ms": dispatched.quantile(wait_ms, 0.5),
        "wait_p99_ms": dispatched.quantile(wait_ms, 0.99),
        "queue_wait_mean_ms": dispatched.mean(queue_ms),
        "queue_wait_p99_ms": dispatched.quantile(queue_ms, 0.99),
        "cold_part_mean_ms": dispatched.mean(cold_ms),
        "cold_part_p50_ms": started.quantile(cold_ms, 0.5),
        "cold_part_p99_ms": started.quantile(cold_ms, 0.99),
        "latency_p50_ms": served.quantile(latency_ms, 0.5),
        "latency_p99_ms": served.quantile(latency_ms, 0.99),
        "slowdown_p99": served.quantile(slowdown(sample), 0.99),
    }
    return {name + SUFFIX[view]: value for name, views in figures.items() for view, value in views.items()}


def slowdown(sample: Sample) -> Reals:
    """Of each request: time until its answer over its isolated warm execution time on the reference product."""
    part = sample.requests
    return np.asarray((part.finish_us - part.arrival_us) / np.maximum(part.exec_us, 1), np.float64)


def _on_time_cold(sample: Sample) -> Flags:
    """Served within the objective of a request that finds no warm replica."""
    specs = [function.definition.spec for function in sample.functions]
    bounds = [spec.timeout_us if spec.slo.cold_latency_us is None else spec.slo.cold_latency_us for spec in specs]
    part = sample.requests
    return np.logical_and(part.served, part.finish_us - part.arrival_us <= sample.of_functions(bounds))
