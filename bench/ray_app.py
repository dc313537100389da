"""The same answers as Ray Serve's. Runs in Ray's environment (bench.ray_serve), with nothing of Stoker.

`python ray_app.py PORT FOLDER`: one deployment with one replica behind the HTTP proxy of this node.
"""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

SMALL = b"a small answer from the replica\n"
SIZES = {"1KiB": b"x" * 1024, "1MiB": b"x" * 1024 * 1024}
QUIET = {"enable_access_log": False}


class Answers:
    async def __call__(self, request: Request) -> Response:
        path = request.url.path
        if path == "/events":
            query = request.query_params
            events = _events(int(query.get("count", 1)), int(query.get("gap_us", 0)))
            return StreamingResponse(events, media_type="text/event-stream")
        if path.startswith("/put/"):
            await request.body()
        if path.startswith("/get/"):
            return Response(SIZES[path.removeprefix("/get/")], media_type="text/plain")
        return Response(SMALL, media_type="text/plain")


async def _events(count: int, gap_us: int) -> AsyncIterator[bytes]:
    began = time.monotonic()
    for number in range(count):
        wait_s = began + number * gap_us / 1e6 - time.monotonic()
        await asyncio.sleep(max(0.0, wait_s))
        yield b"data: %d\n\n" % time.monotonic_ns()


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[2])
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config=QUIET)
    deployment = serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0}, logging_config=QUIET)
    serve.run(deployment(Answers).bind(), logging_config=QUIET)
    threading.Event().wait()
