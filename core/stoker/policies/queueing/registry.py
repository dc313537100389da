"""The queueing policies by name, and their exchange while requests are queued.

A new policy is one file and one line here; the conformance suite in tests/ takes it from here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from stoker.errors import UnknownName
from stoker.policies.queueing.batch import Batch
from stoker.policies.queueing.cfs_affinity import CfsAffinity
from stoker.policies.queueing.edf import Edf
from stoker.policies.queueing.fcfs import Fcfs
from stoker.policies.queueing.interface import DEFAULTS, QueueParams, QueuePolicy
from stoker.policies.queueing.lazy_slack import LazySlack
from stoker.policies.queueing.lean_slack import LeanSlack
from stoker.policies.queueing.least_slack import LeastSlack
from stoker.policies.queueing.mqfq import Mqfq
from stoker.policies.queueing.mqfq_sticky import MqfqSticky
from stoker.policies.queueing.paella_srpt import PaellaSrpt
from stoker.policies.queueing.random_order import RandomOrder
from stoker.policies.queueing.rrc import Rrc
from stoker.policies.queueing.serve_late import ServeLate
from stoker.policies.queueing.sjf import Sjf

DEFAULT_QUEUEING = LeastSlack.name


class MakePolicy(Protocol):
    """Makes a fresh, bare policy; the classes of the policies themselves."""

    def __call__(self, params: QueueParams = DEFAULTS) -> QueuePolicy: ...


POLICIES: Mapping[str, MakePolicy] = MappingProxyType(
    {
        Batch.name: Batch,
        CfsAffinity.name: CfsAffinity,
        Edf.name: Edf,
        Fcfs.name: Fcfs,
        LazySlack.name: LazySlack,
        LeanSlack.name: LeanSlack,
        LeastSlack.name: LeastSlack,
        Mqfq.name: Mqfq,
        MqfqSticky.name: MqfqSticky,
        PaellaSrpt.name: PaellaSrpt,
        RandomOrder.name: RandomOrder,
        Rrc.name: Rrc,
        Sjf.name: Sjf,
    }
)
"""By the name that a user writes in a GpuPolicy."""


def make_queueing(name: str, params: QueueParams = DEFAULTS) -> QueuePolicy:
    """A fresh policy, in ServeLate. Raises UnknownName for a name that is not in POLICIES."""
    make = POLICIES.get(name)
    if make is None:
        raise UnknownName(f"no queueing policy is named {name!r}; choose one of {', '.join(sorted(POLICIES))}")
    return ServeLate(make(params))


def exchange(old: QueuePolicy, name: str, params: QueueParams = DEFAULTS) -> QueuePolicy:
    """A fresh policy that holds all that `old` held; `old` is empty then. An unknown name leaves `old` as it is.

    Requests that run are no part of it: their done() goes to the new policy, which takes it.
    """
    new = make_queueing(name, params)
    for request in old.export():
        new.push(request)
    return new
