"""What all agents together can do now: which variants are warm where, and what one more request would meet.

A view of the load streams and nothing else: it may be a moment old, so it may cost a request a detour (the agent
says NoReplica), never a wrong answer. The agents may come and go: one that went gets nothing new, and what runs there
already ends there.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from stoker.admission import Forecast, Forecasts, under
from stoker.agents_choice import GpuCrowd, Told, cheapest_first, forecast, gpu_crowd, later, room, soonest_first
from stoker.cost.costs import Bounds
from stoker.model.function import Variant
from stoker_gateway.agent_link import AgentDial, AgentLink
from stoker_gateway.config import AgentAddress


class LoadView:
    """The agents of this gateway. `on_frame` is called after every frame of any agent with what changed in it."""

    def __init__(self, on_frame: Callable[[Iterable[str]], None], clock_us: Callable[[], int]) -> None:
        self._on_frame = on_frame
        self._clock_us = clock_us
        self._links: list[AgentLink] = []
        self._retired: set[AgentLink] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._dial: AgentDial | None = None
        self._unplaceable: Mapping[str, Mapping[Variant, str]] = {}
        self._bounds: Bounds = {}
        self._unusable_since_us: int | None = clock_us()
        self._crowd: GpuCrowd | None = None
        self._forecasts: dict[str, tuple[int, dict[Variant, Forecast]]] = {}
        """Of an instant. Both until the next frame: under overload each refusal asks."""

    def start(self, dial: AgentDial) -> None:
        """From now on agents can be followed, until stop()."""
        self._dial = dial

    def set_agents(self, agents: Collection[AgentAddress]) -> None:
        """These are the agents from now on. One whose address changed is another one."""
        assert self._dial is not None
        wanted = dict.fromkeys(agents)
        kept = {link.address: link for link in self._links if link.address in wanted}
        gone = [link for link in self._links if link.address not in wanted]
        added = [
            AgentLink(address, self._dial, self._heard, self._clock_us) for address in wanted if address not in kept
        ]
        self._links = [*kept.values(), *added]
        for link in added:
            link.start()
        changed: set[str] = set()
        self._retired = {link for link in self._retired if link.pool.open}
        for link in gone:
            changed.update(link.functions)
            self._retired.add(link)
            task = asyncio.get_running_loop().create_task(link.retire(), name=f"retire {link.address.host}")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        if gone:
            self._heard(changed)

    async def stop(self) -> None:
        """Hang up on all agents."""
        await asyncio.gather(*self._retiring, *(link.stop() for link in (*self._links, *self._retired)))

    @property
    def agents(self) -> tuple[int, int]:
        """How many there are, and how many of them are heard and accept requests."""
        return len(self._links), sum(link.usable for link in self._links)

    @property
    def settled(self) -> bool:
        """Whether every agent has spoken, or has had its time to."""
        return all(link.heard for link in self._links)

    def set_unplaceable(self, unplaceable: Mapping[str, Mapping[Variant, str]]) -> None:
        """Which variants no device could ever hold, and why in words."""
        self._unplaceable = unplaceable
        self._forecasts = {}

    def set_bounds(self, bounds: Bounds) -> None:
        """Which variants requests may not have for what they cost, on this gateway's clock."""
        changed = {*self._bounds, *bounds}
        self._bounds = bounds
        if changed:
            self._on_frame(changed)

    def paid_us(self, key: str, variant: Variant) -> int | None:
        """When one more request could end at the earliest, by a bound on cost; None: none is in its way."""
        found = self.forecasts(key).get(variant) if key in self._bounds else None
        return self._clock_us() + found.finish_us if found is not None and found.denied else None

    def denied(self, key: str, variant: Variant, until_us: int) -> bool:
        """Whether a bound on cost keeps the variant from a request that can wait for it until then."""
        paid_us = self.paid_us(key, variant)
        return paid_us is not None and paid_us > until_us

    def warm(self, key: str, variant: Variant) -> int:
        """Warm replicas of the variant on agents that accept requests; none where its requests cost too much."""
        bound = self._bounds.get(key, {}).get(variant)
        if bound is not None and bound.warm_too:
            return 0
        total = 0
        for link in self._links:
            if link.usable and (variants := link.functions.get(key)) and (load := variants.get(variant)):
                total += load.warm
        return total

    def candidates(self, key: str, variant: Variant, prices: Mapping[str, float], remaining_us: int) -> list[AgentLink]:
        """Agents with a warm replica of the variant, the soonest to finish first; where there are prices the cheapest
        of those that are predicted to finish within `remaining_us`.
        """
        if len(self._links) == 1:
            return self._links if self.warm(key, variant) else []
        told = self._told(key, variant)
        return cheapest_first(told, prices, remaining_us) if prices else soonest_first(told)

    def named(self, mark: bytes, key: str, variant: Variant) -> AgentLink | None:
        """The agent that tickets name so, if it accepts requests and has a warm replica of the variant."""
        for link in self._links:
            if link.mark == mark and link.usable and (load := link.functions.get(key, {}).get(variant)) and load.warm:
                return link
        return None

    def crowd(self) -> GpuCrowd:
        """What is on the GPUs of all agents, by the last word of each."""
        if self._crowd is None:
            self._crowd = gpu_crowd(
                (key, load)
                for link in self._links
                if link.usable
                for key, variants in link.functions.items()
                if (load := variants.get(Variant.GPU)) is not None
            )
        return self._crowd

    def room(self, key: str, variant: Variant) -> int | None:
        """How many held requests should go to agents now; None: all of them."""
        return room(told for _, told in self._told(key, variant))

    def _told(self, key: str, variant: Variant) -> Iterator[tuple[AgentLink, Told]]:
        for link in self._links:
            if link.usable and (variants := link.functions.get(key)) and (load := variants.get(variant)):
                yield link, Told(load, link.sent[key, variant])

    def forecasts(self, key: str) -> Forecasts:
        """What is known of each variant, the best agent's figures for each. To be read only."""
        now_us = self._clock_us()
        if key not in self._forecasts:
            self._forecasts[key] = now_us, self._foresee(key, now_us)
        made_us, known = self._forecasts[key]
        if now_us > made_us:
            known = {variant: later(found, now_us - made_us) for variant, found in known.items()}
        return under(self._bounds.get(key, {}), known, now_us)

    def _foresee(self, key: str, now_us: int) -> dict[Variant, Forecast]:
        said: dict[Variant, list[Told]] = {}
        for link in self._links:
            if link.usable and key in link.functions:
                age_us = now_us - link.told_us[key]
                for variant, load in link.functions[key].items():
                    said.setdefault(variant, []).append(Told(load, link.sent[key, variant], age_us))
        found = {variant: known for variant, some in said.items() if (known := forecast(some)) is not None}
        for variant, why in self._unplaceable.get(key, {}).items():
            if not found.get(variant, Forecast()).warm:
                found[variant] = Forecast(unplaceable=why)
        return found

    def unusable_for_us(self) -> int:
        """How long no agent has accepted requests; 0 while one does."""
        return 0 if self._unusable_since_us is None else max(1, self._clock_us() - self._unusable_since_us)

    def _heard(self, changed: Iterable[str]) -> None:
        self._crowd = None
        self._forecasts = {}
        if any(link.usable for link in self._links):
            self._unusable_since_us = None
        elif self._unusable_since_us is None:
            self._unusable_since_us = self._clock_us()
        self._on_frame(changed)
