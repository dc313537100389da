"""The pre-warm policies by name. Adding one is a line here."""

from stoker.model.function import PreWarmPolicy
from stoker.policies.prewarm.cron import CronWindows
from stoker.policies.prewarm.hazard_rate import HazardRate
from stoker.policies.prewarm.histogram import HybridHistogram
from stoker.policies.prewarm.interface import PreWarming
from stoker.policies.prewarm.none import NoPreWarming

PREWARM: dict[PreWarmPolicy, PreWarming] = {
    policy.name: policy for policy in (NoPreWarming(), CronWindows(), HybridHistogram(), HazardRate())
}
"""One object each: they are stateless."""
