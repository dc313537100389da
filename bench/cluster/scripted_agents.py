"""`python -m bench.cluster.scripted_agents KUBECONFIG COUNT`: the streams of many agents, by one server.

It answers at every address of 127.0.0.0/8 on the ports of an agent, with the agents' certificate; the address that is
dialled says which agent is meant. What they tell is a scripted load, or replicas in a state that never changes. Only
the other end of the streams is measured: their reader.
"""

import asyncio
import contextlib
import random
import sys
from pathlib import Path

import msgspec
from aiohttp import web

from bench.cluster.server import SYSTEM
from bench.cluster.simulated_nodes import number_of
from stoker.model.function import Variant
from stoker.wire.agent import LOAD_PATH, LoadFrame, VariantLoad
from stoker.wire.cluster import (
    COMPONENT_GATEWAY,
    COMPONENT_NODE,
    COMPONENT_OPERATOR,
    COMPONENT_SCHEDULER,
    PORT_CONTROL,
    PORT_DATA,
    REPLICAS_PATH,
    ReplicaFrame,
)
from stoker_runtime.identity import Identity
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.kubeconfig import load_kubeconfig

BEAT_S = 1.0
FUNCTIONS = 4
"""That an agent has something of."""


def load_frame(number: int, seq: int, rng: random.Random) -> bytes:
    functions = {
        f"bench/function-{(number * FUNCTIONS + index) % 50}": {
            Variant.GPU: VariantLoad(
                warm=1,
                free=rng.randrange(4),
                running=rng.randrange(4),
                exec_ms=80.0,
                start_ms=4_000.0,
                samples=100,
                start_samples=3,
                wait_ms=rng.random() * 200,
            )
        }
        for index in range(FUNCTIONS)
    }
    return msgspec.json.encode(LoadFrame(seq=seq, full=seq == 1, functions=functions)) + b"\n"


def replica_frame(number: int, seq: int, rng: random.Random) -> bytes:
    del rng
    return msgspec.json.encode(ReplicaFrame(seq=seq, node=f"node-{number:05d}")) + b"\n"


def _stream(make: object) -> object:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        assert request.transport is not None
        number = number_of(request.transport.get_extra_info("sockname")[0])
        rng = random.Random(number)
        seq = 0
        with contextlib.suppress(ConnectionError):
            while True:
                seq += 1
                await response.write(make(number, seq, rng))  # type: ignore[operator]
                await asyncio.sleep(BEAT_S)
        return response

    return handle


async def serve(kubeconfig: Path) -> None:
    async with KubeClient(load_kubeconfig(kubeconfig), user_agent="stoker-bench-agents") as kube:
        identity = Identity(kube, SYSTEM, COMPONENT_NODE)
        await identity.load()
        for port, path, make, clients in (
            (PORT_DATA, LOAD_PATH, load_frame, {COMPONENT_GATEWAY, COMPONENT_SCHEDULER}),
            (PORT_CONTROL, REPLICAS_PATH, replica_frame, {COMPONENT_OPERATOR}),
        ):
            app = web.Application()
            app.router.add_get(path, _stream(make))  # type: ignore[arg-type]
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(
                runner, "0.0.0.0", port, ssl_context=identity.server_context(clients), backlog=4096
            ).start()
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
