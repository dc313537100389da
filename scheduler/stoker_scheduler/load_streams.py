"""One load stream per agent, for as long as its pod is there: what agents say comes into the board, and the ledger
hears whose view has changed. Decides nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from ssl import SSLContext

import msgspec
import structlog

from stoker.wire.agent import LOAD_PATH, LoadFrame
from stoker.wire.cluster import COMPONENT_NODE, PORT_DATA, ROLES
from stoker_runtime.line_stream import LineStream
from stoker_runtime.peers import Peer
from stoker_scheduler.load_board import LoadBoard

log = structlog.get_logger(__name__)


class LoadStreams:
    """`follow(peers)` whenever they change, `await stop()`."""

    def __init__(
        self, board: LoadBoard, changed: Callable[[str], None], context: SSLContext, *, port: int = PORT_DATA
    ) -> None:
        """`changed` gets the node whose agent said something, or fell silent."""
        self._board = board
        self._changed = changed
        self._context = context
        self._port = port
        self._decoder = msgspec.json.Decoder(LoadFrame)
        self._streams: dict[str, tuple[Peer, LineStream]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._all_spoken = asyncio.Event()

    def __len__(self) -> int:
        return len(self._streams)

    def follow(self, peers: Mapping[str, Peer]) -> None:
        """These are the agents now, by pod name. One whose address changed is another one."""
        for pod, (known, _) in list(self._streams.items()):
            if (now := peers.get(pod)) is None or now.address != known.address:
                self._hang_up(pod)
        for pod, peer in peers.items():
            if pod not in self._streams:
                self._dial(pod, peer)

    async def first_words(self, most_s: float) -> None:
        """Wait until the agents of all nodes have spoken, or for so long: until then each node seems to be away, and
        kube-scheduler looks again at a pod that fits nowhere only when something happens to nodes or pods.
        """
        self._count_words()
        try:
            async with asyncio.timeout(most_s):
                await self._all_spoken.wait()
        except TimeoutError:
            log.warning("placing_without_all_words", after_s=most_s)

    async def stop(self) -> None:
        """Hang up on all."""
        for pod in list(self._streams):
            self._hang_up(pod)
        if self._ending:
            await asyncio.wait(self._ending)

    def _dial(self, pod: str, peer: Peer) -> None:
        def on_line(line: bytes) -> None:
            # ValidationError and OutOfStep are ValueErrors: the stream is dialled again, and begins in full.
            frame = self._decoder.decode(line)
            before = self._board.speaks(peer.node)
            self._board.heard(peer.node, frame, pod)
            # A heartbeat that changes nothing leaves the view as it is.
            if frame.full or frame.functions or frame.removed or frame.accepting != before:
                self._changed(peer.node)
            self._count_words()

        stream = LineStream(
            peer.address,
            self._port,
            LOAD_PATH,
            ssl=self._context,
            server_hostname=ROLES[COMPONENT_NODE].dns_name,
            on_line=on_line,
            on_lost=lambda: self._on_silence(peer),
        )
        self._streams[pod] = (peer, stream)
        stream.start()

    def _count_words(self) -> None:
        if not self._all_spoken.is_set() and all(self._board.speaks(peer.node) for peer, _ in self._streams.values()):
            self._all_spoken.set()

    def _hang_up(self, pod: str) -> None:
        peer, stream = self._streams.pop(pod)
        task = asyncio.get_running_loop().create_task(stream.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        self._on_silence(peer)

    def _on_silence(self, peer: Peer) -> None:
        self._board.lost(peer.node, peer.pod)
        self._changed(peer.node)
