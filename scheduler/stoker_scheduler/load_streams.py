"""One load stream per agent, for as long as its pod is there: what agents say comes into the board, and the ledger
hears whose view has changed. Decides nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from ssl import SSLContext

import structlog

from stoker.wire.agent import LOAD_PATH, LoadFrame
from stoker.wire.cluster import COMPONENT_NODE, PORT_DATA, ROLES
from stoker_runtime.peer_streams import PeerStreams
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
        self._streams = PeerStreams(
            LOAD_PATH,
            LoadFrame,
            ssl=context,
            server_hostname=ROLES[COMPONENT_NODE].dns_name,
            on_frame=self._on_frame,
            on_lost=self._on_silence,
            on_gone=self._on_silence,
            port=port,
        )
        self._all_spoken = asyncio.Event()

    def __len__(self) -> int:
        return len(self._streams.peers)

    def follow(self, peers: Mapping[str, Peer]) -> None:
        """These are the agents now, by pod name."""
        self._streams.follow(peers)

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
        await self._streams.stop()

    def _on_frame(self, peer: Peer, frame: LoadFrame) -> None:
        """Raises OutOfStep, a ValueError: the stream is dialled again, and begins in full."""
        before = self._board.speaks(peer.node)
        self._board.heard(peer.node, frame, peer.pod)
        # A heartbeat that changes nothing leaves the view as it is.
        if frame.full or frame.functions or frame.removed or frame.accepting != before:
            self._changed(peer.node)
        self._count_words()

    def _count_words(self) -> None:
        if not self._all_spoken.is_set() and all(self._board.speaks(peer.node) for peer in self._streams.peers):
            self._all_spoken.set()

    def _on_silence(self, peer: Peer) -> None:
        self._board.lost(peer.node, peer.pod)
        self._changed(peer.node)
