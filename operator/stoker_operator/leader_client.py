"""The leader's way to the API server: reads like any other, and writes only while this process may still lead.

The check stands before each try of each write and nowhere else, so that no writer can forget it. A write that is
refused here was not sent. Whoever campaigns for the Lease writes by another client.
"""

from collections.abc import Callable

from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig
from stoker_runtime.kube.errors import KubeError
from stoker_runtime.kube.transport import Call, Transport


class NotLeading(KubeError):  # noqa: N818  the name states the fact
    """Another operator may lead by now: nothing more may be written."""


class LeaderClient(KubeClient):
    """`may_write` is asked before each write."""

    def __init__(self, config: KubeConfig, may_write: Callable[[], bool], *, user_agent: str) -> None:
        super().__init__(config, user_agent=user_agent, transport=_Guarded(config, may_write, user_agent))


class _Guarded(Transport):
    def __init__(self, config: KubeConfig, may_write: Callable[[], bool], user_agent: str) -> None:
        super().__init__(config, user_agent=user_agent)
        self._may_write = may_write

    async def once(self, call: Call) -> bytes:
        if call.method != "GET" and not self._may_write():
            raise NotLeading(f"{call.what} was not sent: another operator may lead by now.")
        return await super().once(call)
