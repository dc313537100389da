"""What all agents together can do now: which variants are warm where, and what one more request would meet.

A view of the load streams and nothing else: it may be a moment old, so it may cost a request a detour (the agent
says NoReplica), never a wrong answer. The agents may come and go: one that went gets nothing new, and what runs there
already ends there.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

from stoker.admission import Forecast
from stoker.model.function import Variant
from stoker_gateway.agent_link import AgentDial, AgentLink
from stoker_gateway.config import AgentAddress

AHEAD_MS = 500.0
"""Work that an agent has in its queue while others still start: some load frames' worth, so that it never idles."""


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
        self._unusable_since_us: int | None = clock_us()

    def start(self, dial: AgentDial) -> None:
        """From now on agents can be followed, until stop()."""
        self._dial = dial

    def set_agents(self, agents: Collection[AgentAddress]) -> None:
        """These are the agents from now on. One whose address changed is another one."""
        assert self._dial is not None
        wanted = dict.fromkeys(agents)
        kept = {link.address: link for link in self._links if link.address in wanted}
        gone = [link for link in self._links if link.address not in wanted]
        added = [AgentLink(address, self._dial, self._heard) for address in wanted if address not in kept]
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

    def warm(self, key: str, variant: Variant) -> int:
        """Warm replicas of the variant on agents that accept requests."""
        total = 0
        for link in self._links:
            if link.usable and (variants := link.functions.get(key)) and (load := variants.get(variant)):
                total += load.warm
        return total

    def candidates(self, key: str, variant: Variant) -> list[AgentLink]:
        """Agents with a warm replica of the variant, the soonest to finish first."""
        if len(self._links) == 1:
            return self._links if self.warm(key, variant) else []
        found: list[tuple[float, int, AgentLink]] = []
        for index, link in enumerate(self._links):
            if link.usable and (variants := link.functions.get(key)) and (load := variants.get(variant)) and load.warm:
                # What was sent since its last word waits there too; else a burst would all go to one agent.
                behind = max(0, link.sent[key, variant] + 1 - load.free) / load.warm
                found.append((load.wait_ms + max(load.exec_ms, 1.0) * (1 + behind), index, link))
        return [link for _, _, link in sorted(found, key=lambda entry: entry[:2])]

    def room(self, key: str, variant: Variant) -> int | None:
        """How many held requests should go to agents now; None: all of them.

        While replicas start on several agents, those that are warm get what they can take at once and what they will
        have done soon: what is queued at one agent cannot go to another any more.
        """
        room, agents, starting = 0, 0, 0
        for link in self._links:
            load = link.functions.get(key, {}).get(variant) if link.usable else None
            if load is None or not load.warm + load.starting:
                continue
            agents += 1
            starting += load.starting
            if load.warm:
                soon = int(load.warm * AHEAD_MS / max(load.exec_ms, 1.0)) if load.samples else 0
                room += max(0, load.free + soon - load.queued - link.sent[key, variant])
        return room if starting and agents > 1 else None

    def forecasts(self, key: str) -> dict[Variant, Forecast]:
        """What is known of each variant, the best agent's figures for each."""
        found: dict[Variant, Forecast] = {}
        for link in self._links:
            if not link.usable:
                continue
            for variant, load in link.functions.get(key, {}).items():
                so_far = found.get(variant)
                forecast = Forecast(
                    warm=load.warm + (so_far.warm if so_far else 0),
                    starting=load.starting + (so_far.starting if so_far else 0),
                    wait_us=round(load.wait_ms * 1000),
                    exec_us=round(load.exec_ms * 1000),
                    start_us=round(load.start_ms * 1000),
                )
                if so_far is not None and so_far.finish_us < forecast.finish_us:
                    forecast = Forecast(
                        warm=forecast.warm,
                        starting=forecast.starting,
                        wait_us=so_far.wait_us,
                        exec_us=so_far.exec_us,
                        start_us=so_far.start_us,
                    )
                found[variant] = forecast
        for variant, why in self._unplaceable.get(key, {}).items():
            if not found.get(variant, Forecast()).warm:
                found[variant] = Forecast(unplaceable=why)
        return found

    def unusable_for_us(self) -> int:
        """How long no agent has accepted requests; 0 while one does."""
        return 0 if self._unusable_since_us is None else max(1, self._clock_us() - self._unusable_since_us)

    def _heard(self, changed: Iterable[str]) -> None:
        if any(link.usable for link in self._links):
            self._unusable_since_us = None
        elif self._unusable_since_us is None:
            self._unusable_since_us = self._clock_us()
        self._on_frame(changed)
