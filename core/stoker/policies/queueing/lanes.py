"""Which slots the requests of a flow may run on, as the admission rule sees it. Values only.

A lane is a set of resources: the slots of a shared device, or the concurrency of a replica that has its device (or its
cores) to itself. Flows whose lanes share a resource, directly or by way of others, are of one pool: only they can delay
one another.
"""

from collections.abc import Mapping

from msgspec import Struct


class Lane(Struct, frozen=True):
    """Where the requests of a flow may run."""

    pool: str
    """The first resource of its pool by name: the same for all lanes that may delay one another."""
    resources: tuple[str, ...]
    """Sorted by name; never empty."""
    servers: int
    """Requests of the flow that can run at a time, at least 1."""


class Room(Struct, frozen=True, array_like=True):
    """The slots of a lane now."""

    servers: int
    remaining_us: tuple[int, ...] = ()
    """Upper bound of the time to the end of each run that holds one of them, ascending."""

    def start_us(self, ahead_us: int) -> int:
        """How long at the latest until a request starts that has `ahead_us` of work before it.

        Until it starts every slot is busy with what runs now or with work before it; so the slots that are free at an
        instant L have taken at least L minus their present run of that work each, and that sums to at most `ahead_us`.
        """
        servers = self.servers
        busy_us = self.remaining_us
        # More runs than slots (a replica drains, or holds another concurrency): the first ends free nothing.
        free_us = (0,) * (servers - len(busy_us)) + busy_us[max(0, len(busy_us) - servers) :]
        level_us, left_us = free_us[0], ahead_us
        for filled in range(1, servers):
            step_us = (free_us[filled] - level_us) * filled
            if step_us >= left_us:
                return level_us - (-left_us // filled)
            left_us -= step_us
            level_us = free_us[filled]
        return level_us - (-left_us // servers)

    def work_until_us(self, instant_us: int) -> int:
        """The most work before a request with which start_us() still says that it starts by `instant_us` from now; less
        than 0 where no slot comes free by then.
        """
        busy_us = self.remaining_us[-self.servers :]
        idle = self.servers - len(busy_us)
        if instant_us < (0 if idle else busy_us[0]):
            return -1
        room_us = idle * instant_us
        for remaining_us in busy_us:
            if remaining_us >= instant_us:
                break
            room_us += instant_us - remaining_us
        return room_us


def pooled(resources: Mapping[str, tuple[tuple[str, ...], int]]) -> dict[str, Lane]:
    """The lane of each flow, from its resources (not empty) and servers."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (up := parent.setdefault(name, name)) != name:
            parent[name] = parent[up] = parent.setdefault(up, up)
            name = parent[name]
        return name

    for names, _ in resources.values():
        first = root(names[0])
        for name in names[1:]:
            other = root(name)
            # The least name is the root, so a pool keeps its name whatever the order of flows.
            first, low = min(first, other), max(first, other)
            parent[low] = first
    return {flow: Lane(root(names[0]), tuple(sorted(names)), servers) for flow, (names, servers) in resources.items()}
