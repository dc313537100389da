"""An agent's verdict on a request in simulated time: what the live agent does (stoker_node.admission), off the wire."""

from typing import Any

from stoker.model.function import Function
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.slots.coming_back import NOTHING, ComingBack
from stoker.slots.forecast import Lookout
from stoker.slots.places import Places, Redemption
from stoker.slots.table import FlowState
from stoker.slots.verdict import Verdict, bind, judge
from stoker_sim.engine.returns import Returns


class Judging:
    """Of one agent, by whose name its places are known. `returns`: clients that come back for places, if any do."""

    def __init__(self, lookout: Lookout, policy: QueuePolicy, name: str, returns: Returns | None) -> None:
        self._lookout = lookout
        self._policy = policy
        self._name = name
        self._returns = returns
        self._coming_back = ComingBack(Places(f"{name}-"), lookout.arrangement)

    def verdict(
        self,
        index: int,
        request: QueuedRequest,
        state: FlowState[Any],
        function: Function,
        *,
        late_ok: bool,
        said: str,
    ) -> Verdict:
        """On a request that comes now (its `arrival_us`), with what is promised written into it; `said` is the place
        that it comes for, or that it wants one (stoker.wire.agent, H_TICKET).
        """
        now_us = request.arrival_us
        redemption = self._coming_back.redeem(said, state.key, now_us)
        honoured = redemption is Redemption.HONOURED
        request.late_ok = late_ok or honoured or function.serves_late
        sight = self._lookout.sight(
            request,
            state,
            function,
            policy=self._policy,
            takes_late=late_ok or honoured,
            now_us=now_us,
            reserved=NOTHING if honoured else self._coming_back.before(request, now_us),
        )
        verdict = judge(request, sight, policy=self._policy, accepting=True)
        if verdict.refusal is None:
            self._coming_back.taken(said, redemption)
            bind(request, verdict)
        elif self._returns is not None:
            share_us = 0 if sight is None else sight.share_us
            told = self._coming_back.refused(verdict.refusal, request, said, redemption, share_us)
            self._returns.tell(index, told, self._name)
        return verdict
