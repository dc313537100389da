"""The least number of replicas with which a share of all requests ends within the objective: a model of queueing.

A function with Poisson arrivals at rate r, execution times of mean m and squared coefficient of variation v, and n
concurrent executions in all is an M/G/n queue with offered load a = r m.
- P(wait > 0) = C(n, a): A. K. Erlang, 1917; computed by the recursion of his B formula, which is stable and O(n).
- E[wait] = C m / (n - a) (1 + v) / 2: A. M. Lee and P. A. Longton, Queueing Processes Associated with Airline Passenger
  Check-in, Operational Research Quarterly 10(1), 1959; A. O. Allen, Probability, Statistics, and Queueing Theory, 1978
  (Allen-Cunneen: the same for other arrivals).
- A wait that is not zero is about exponential: W. Whitt, Approximations for the GI/G/m Queue, Production and Operations
  Management 2(2), 1993; exact for M/M/n.
- P(wait + execution > D) = P(execution > D) + the integral over shorter executions s of P(wait > D - s): here a sum
  over POINTS equally likely ones.
Systems that size model serving by its rate and objective: Nexus (SOSP'19), MArk (ATC'19), INFless (ASPLOS'22). Here it
is the tail of the whole answer time that is held against the objective. What a request meets beyond this model (starts,
shared devices, other products) is admission's business.
"""

from math import exp, floor

from stoker.sizing.service_time import ServiceTime

POINTS = 16
"""Executions that the integral over them is summed at (ours)."""
LEAST_WAIT_SHARE = 0.1
"""Of the misses that the percentile allows, this part at least may come from waits (ours): where executions alone use
up nearly all of it, no number of replicas would save the rest."""
HOPELESS_ROOM = 2.0
"""Where executions alone miss the objective too often, it is not the objective that is sized for but this multiple of
the execution time at the percentile (ours): late either way, but not later than that."""


def delay_probability(servers: int, offered: float) -> float:
    """Erlang's C: the probability that an arrival waits in M/M/n with `servers` and load `offered` (mean busy servers).

    1.0 where the load is no less than the servers.
    """
    if offered >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return _delayed(blocked, servers, offered)


def _delayed(blocked: float, servers: int, offered: float) -> float:
    """C from B."""
    used = offered / servers
    return blocked / (1 - used * (1 - blocked))


def replicas_needed(  # noqa: PLR0917  one queue's facts
    per_s: float, service: ServiceTime, objective_us: int, percentile: float, concurrency: int, most: int
) -> int:
    """The least replicas, each of `concurrency` executions at a time, with which `percentile` (0 to 100, exclusive) of
    the requests end within `objective_us`; `most` where that many do not suffice. 0 without arrivals.

    Steps: at most most x concurrency.
    """
    if per_s <= 0 or most <= 0:
        return 0
    offered = per_s * service.mean_us / 1e6
    least = floor(offered / concurrency) + 1
    if least >= most:
        return most
    aim = _Aim(service, objective_us, 1 - percentile / 100)
    blocked, servers = 1.0, 0
    for replicas in range(1, most):
        for _ in range(concurrency):
            servers += 1
            blocked = offered * blocked / (servers + offered * blocked)
        if replicas >= least and aim.met(_delayed(blocked, servers, offered), servers - offered):
            return replicas
    return most


class _Aim:
    """How often a wait may spoil what an execution alone would not."""

    def __init__(self, service: ServiceTime, objective_us: float, allowed: float) -> None:
        over = service.share_over(objective_us)
        if over > allowed:
            objective_us = HOPELESS_ROOM * service.at_share(1 - allowed)
            over = service.share_over(objective_us)
        under = 1 - over
        self._room = [objective_us - service.at_share(under * (i + 0.5) / POINTS) for i in range(POINTS)]
        """What executions that are short enough leave for a wait."""
        self._budget = max(allowed - over, LEAST_WAIT_SHARE * allowed) / under
        self._scale_us = service.mean_us * (1 + service.variability) / 2
        """Mean of a wait that is not zero, times the idle servers."""

    def met(self, delayed: float, idle: float) -> bool:
        """Whether waits are rare and short enough when `delayed` of all wait and `idle` servers are so on average."""
        if delayed <= self._budget:
            return True
        steep = idle / self._scale_us
        return delayed * sum(exp(-steep * max(0.0, room)) for room in self._room) / POINTS <= self._budget
