"""`python -m bench.overload.trivial CORE`: a server that answers anything at once, to see what the generator can do.

Prints the port that it took. Ends with its standard input.
"""

import asyncio
import os
import sys
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nserver-timing: queue;dur=0, exec;dur=0\r\n\r\nok\n"
END = b"\r\n\r\n"


class Answering(asyncio.Protocol):
    """One connection, without bodies and without a second request before the first answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.endswith(END):
            self._transport.write(ANSWER)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    os.sched_setaffinity(0, {int(sys.argv[1])})
    uvloop.run(serve())


if __name__ == "__main__":
    main()
