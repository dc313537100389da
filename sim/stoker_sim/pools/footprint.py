"""Which buffers a request of a KaaS workload has, and how many tenants a device holds by that: plain arithmetic.

cGEMM's are known from its dimensions: a complex product of 100 x 10,000 by 10,000 x 25,000 and a vector (KaaS'
benchmarks, kaasSources/complexCutlassGemm/generateModel.py). Of the other workloads only the sum is published, not what
of it outlives a request.
"""

from msgspec import Struct

from stoker_sim.pools.buffers import Buffer, Reserve

MARGIN_MIB = 300
"""Kept free of a device, because the driver's blocks are larger than what is asked for (KaaS)."""
CONTEXT_MIB = 367
"""Device memory of an executor that holds no buffer (kaas_isolated.csv: testModel, kaas)."""
BLOCK_BYTES = 2 << 20
"""In which the driver seems to give memory, as a comment of KaaS' code says; its accounting does not round."""
_MIB = 1 << 20
_COMPLEX = 8
_M, _N, _K = 100, 25_000, 10_000


class Footprint(Struct, frozen=True, kw_only=True):
    """Sizes in bytes."""

    constants: tuple[int, ...]
    """Read from the store when they are not on the device."""
    scratch: tuple[int, ...] = ()
    """Kept under one name for each tenant, never read."""
    inputs: int = 0
    """A new buffer for each request. Copying it is part of the isolated latency, so it costs nothing more here."""

    @property
    def resident(self) -> int:
        """What a tenant keeps on a device."""
        return sum(self.constants) + sum(self.scratch)

    @property
    def whole(self) -> int:
        """What a request needs in all."""
        return self.resident + self.inputs

    def in_blocks(self, block: int) -> "Footprint":
        """The same where each buffer takes whole blocks of so many bytes."""

        def rounded(size: int) -> int:
            return -(-size // block) * block

        return Footprint(
            constants=tuple(map(rounded, self.constants)),
            scratch=tuple(map(rounded, self.scratch)),
            inputs=rounded(self.inputs),
        )

    def of_request(self, tenant: str, number: int) -> tuple[Buffer, ...]:
        """`number` tells one request's input from another's."""
        constants = [Buffer(f"{tenant}#constant{at}", size) for at, size in enumerate(self.constants)]
        scratch = [Buffer(f"{tenant}#scratch{at}", size, stored=False) for at, size in enumerate(self.scratch)]
        fresh = [Buffer(f"{tenant}#input{number}", self.inputs, stored=False)] if self.inputs else []
        return (*constants, *scratch, *fresh)

    def tenants_on(self, capacity: int, reserve: Reserve) -> int:
        """How many tenants that ask in turn find their constants on a device whose buffers may take `capacity`.

        One request's input is there beside them; under Reserve.WHOLE there must be room for a whole request besides.
        """
        beside = self.whole if reserve is Reserve.WHOLE else self.inputs
        return max(0, capacity - beside) // self.resident


CGEMM = Footprint(
    constants=(_K * _N * _COMPLEX, _N * _COMPLEX),
    scratch=(_M * _N * _COMPLEX, _M * _COMPLEX),
    inputs=_M * _K * _COMPLEX,
)
"""29 tenants of it were one too many for four V100."""
UNKNOWN = Footprint(constants=())
"""Takes no memory: of workloads whose single buffers nobody published."""
