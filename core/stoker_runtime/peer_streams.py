"""One stream per peer, for as long as the peer is there.

Turns lines into frames, and knows nothing of what is done with them.
"""

import asyncio
from collections.abc import Callable, Mapping
from ssl import SSLContext
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from stoker_runtime.line_stream import LineStream
from stoker_runtime.peers import Peer

F = TypeVar("F", bound=Struct)


class PeerStreams(Generic[F]):
    """`follow(peers)` whenever they change; `on_frame(peer, frame)`, `on_lost(peer)` when one falls silent, and
    `on_gone(peer)` when it is no peer any more, and then nothing more of it. Where `on_frame` raises ValueError the
    stream is dialled again.
    """

    def __init__(
        self,
        path: str,
        kind: type[F],
        *,
        ssl: SSLContext,
        server_hostname: str,
        on_frame: Callable[[Peer, F], None],
        on_lost: Callable[[Peer], None],
        on_gone: Callable[[Peer], None],
        port: int,
    ) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._on_gone = on_gone
        self._port = port
        self._streams: dict[str, tuple[Peer, LineStream]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def peers(self) -> list[Peer]:
        """Those that there is a stream to."""
        return [peer for peer, _ in self._streams.values()]

    def follow(self, peers: Mapping[str, Peer]) -> None:
        """These are the peers now, by pod name. A peer whose address changed is another one."""
        for name, (known, _) in list(self._streams.items()):
            now = peers.get(name)
            if now is None or now.address != known.address:
                self._end(name)
        for name, peer in peers.items():
            if name not in self._streams:
                self._begin(name, peer)

    async def stop(self) -> None:
        """Hang up on all."""
        for name in list(self._streams):
            self._end(name)
        if self._ending:
            await asyncio.wait(self._ending)

    def _begin(self, name: str, peer: Peer) -> None:
        # A stream ends a turn or more after it was hung up: what it still brings would stand for ever.
        def is_current() -> bool:
            entry = self._streams.get(name)
            return entry is not None and entry[1] is stream

        def on_line(line: bytes) -> None:
            if is_current():
                # ValidationError is a ValueError: the stream is dialled again.
                self._on_frame(peer, self._decoder.decode(line))

        def on_lost() -> None:
            if is_current():
                self._on_lost(peer)

        stream = LineStream(
            peer.address,
            self._port,
            self._path,
            ssl=self._ssl,
            server_hostname=self._server_hostname,
            on_line=on_line,
            on_lost=on_lost,
        )
        self._streams[name] = (peer, stream)
        stream.start()

    def _end(self, name: str) -> None:
        peer, stream = self._streams.pop(name)
        task = asyncio.get_running_loop().create_task(stream.stop(), name=f"hang up on {name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        self._on_gone(peer)
