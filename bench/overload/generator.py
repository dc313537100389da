"""`python -m bench.overload.generator PLAN SEEN`: sends each call at its time, whatever became of those before.

A process of its own on a core of its own, so that it waits for nobody: bare sockets and epoll, no event loop of anybody
else, and no collection of garbage. Open loop: a call that finds no idle connection opens one. What is sent late is seen
in `sent_us - due_us`, and latencies are counted from `due_us` (no coordinated omission).
"""

import gc
import heapq
import os
import re
import resource
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

import msgspec

from bench.overload.calls import GAVE_UP, LOST, OPEN, Attempt, Plan, Seen

LEAD_US = 200_000
"""Before the first call."""
_MOST_WAIT_S = 0.05
_PARTS = re.compile(rb"(queue|exec);dur=([0-9.]+)")
_REASON = re.compile(rb'"reason":"([A-Za-z]+)"')
_RETRIED = frozenset((429, 503, 504, 502, LOST, GAVE_UP))


class Call:
    """An attempt under way."""

    __slots__ = ("due_us", "index", "link", "number", "sent_us", "ticket")

    def __init__(self, index: int, number: int, due_us: int, ticket: bytes = b"") -> None:
        self.index = index
        self.number = number
        self.due_us = due_us
        self.sent_us = 0
        self.ticket = ticket
        self.link: Link | None = None


class Link:
    """One connection, and the attempt that it carries."""

    __slots__ = ("call", "data", "fd", "out", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", port))
        self.fd = self.socket.fileno()
        self.call: Call | None = None
        self.data = b""
        self.out = b""


class Generator:
    """Plays one plan. See the module."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._begin_us = 0
        self._idle: deque[Link] = deque()
        self._links: dict[int, Link] = {}
        self._epoll = select.epoll()
        self._timed: list[tuple[int, int, Call, bool]] = []
        """When, a number of its own, what, and whether it is due to be sent (else its client's patience is over)."""
        self._numbers = 0
        self._under_way = 0
        self._ended: list[tuple[Call, int, int, bytes]] = []
        self._opened = 0

    def play(self) -> Seen:
        plan, upcoming, count = self._plan, 0, len(self._plan.at_us)
        self._begin_us = _now_us() + LEAD_US
        last_us = (plan.at_us[-1] if count else 0) + plan.linger_us
        while upcoming < count or self._timed or self._under_way:
            now_us = _now_us() - self._begin_us
            while upcoming < count and plan.at_us[upcoming] <= now_us:
                self._send(Call(upcoming, 0, plan.at_us[upcoming]))
                upcoming += 1
                if not upcoming % 8:
                    # Answers are read between sends, or a burst of sends makes them look late.
                    self._receive()
                now_us = _now_us() - self._begin_us
            while self._timed and self._timed[0][0] <= now_us:
                self._fire(heapq.heappop(self._timed))
            if now_us > last_us and upcoming >= count:
                break
            next_us = min(
                plan.at_us[upcoming] if upcoming < count else now_us + 1_000_000,
                self._timed[0][0] if self._timed else now_us + 1_000_000,
            )
            self._wait(next_us)
            self._receive()
        now_us = _now_us() - self._begin_us
        for link in self._links.values():
            if link.call is not None:
                self._ended.append((link.call, now_us, OPEN, b""))
            link.socket.close()
        self._epoll.close()
        return Seen(self._begin_us, [_attempt(*ended) for ended in self._ended], self._opened)

    def _wait(self, next_us: int) -> None:
        # select() waits by microseconds, epoll by milliseconds: so one waits for the other.
        wait_s = (next_us + self._begin_us - _now_us()) / 1e6
        if wait_s > 0:
            select.select([self._epoll], [], [], min(wait_s, _MOST_WAIT_S))

    def _receive(self) -> None:
        for fd, events in self._epoll.poll(0):
            link = self._links.get(fd)
            if link is None:
                continue
            if events & select.EPOLLOUT and link.out:
                self._epoll.modify(fd, select.EPOLLIN)
                self._write(link)
            if events & ~select.EPOLLOUT:
                self._read(link)

    def _send(self, call: Call) -> None:
        plan = self._plan
        stream = plan.streams[plan.stream[call.index]]
        link = self._idle.pop() if self._idle else self._open()
        link.call, call.link = call, link
        ticket = b"stoker-ticket: %b\r\n" % call.ticket if call.ticket else b""
        link.out = b"GET %b?units=%.3f HTTP/1.1\r\nhost: 127.0.0.1\r\nstoker-request-id: r%d-%d\r\n%b\r\n" % (
            stream.target.encode(),
            plan.units[call.index],
            call.index,
            call.number,
            ticket,
        )
        self._under_way += 1
        call.sent_us = _now_us() - self._begin_us
        if stream.patience_us is not None:
            self._later(call.due_us + stream.patience_us, call, due=False)
        self._write(link)

    def _open(self) -> Link:
        link = Link(self._plan.port)
        self._links[link.fd] = link
        self._epoll.register(link.fd, select.EPOLLIN)
        self._opened += 1
        return link

    def _write(self, link: Link) -> None:
        try:
            link.socket.send(link.out)
        except BlockingIOError:
            self._epoll.modify(link.fd, select.EPOLLIN | select.EPOLLOUT)  # it is not connected yet
        except OSError:
            self._close(link, LOST)
        else:
            link.out = b""

    def _read(self, link: Link) -> None:
        try:
            data = link.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(link, LOST)
            return
        link.data += data
        end = link.data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = link.data[:end].lower()
        at = head.find(b"content-length: ")
        length = int(head[at + 16 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(link.data) < end + 4 + length:
            return
        call, answer = link.call, link.data
        link.call, link.data = None, b""
        if b"\r\nconnection: close" in head:
            self._drop(link)
        else:
            self._idle.append(link)
        if call is not None:
            self._end(call, int(answer[9:12]), answer)

    def _close(self, link: Link, status: int) -> None:
        call = link.call
        self._drop(link)
        if call is None:
            if link in self._idle:
                self._idle.remove(link)
        else:
            self._end(call, status, b"")

    def _drop(self, link: Link) -> None:
        del self._links[link.fd]
        self._epoll.unregister(link.fd)
        link.socket.close()

    def _end(self, call: Call, status: int, answer: bytes) -> None:
        now_us = _now_us() - self._begin_us
        call.link = None
        self._under_way -= 1
        self._ended.append((call, now_us, status, answer))
        stream = self._plan.streams[self._plan.stream[call.index]]
        if status not in _RETRIED or call.number >= stream.retries:
            return
        head = answer.partition(b"\r\n\r\n")[0].lower() if stream.honours or stream.tickets else b""
        told_ms = _header(head, b"stoker-retry-after-ms") if stream.honours else b""
        # A ticket is opaque: as it was given, not in lower case.
        at = head.find(b"\r\nstoker-ticket: ")
        ticket = answer[at + 17 :].split(b"\r\n", 1)[0] if stream.tickets and at >= 0 else b""
        due_us = now_us + 1000 * int(told_ms or 0)
        self._later(due_us, Call(call.index, call.number + 1, due_us, ticket), due=True)

    def _later(self, at_us: int, call: Call, *, due: bool) -> None:
        self._numbers += 1
        heapq.heappush(self._timed, (at_us, self._numbers, call, due))

    def _fire(self, timed: tuple[int, int, Call, bool]) -> None:
        _, _, call, due = timed
        if due:
            self._send(call)
        elif call.link is not None and call.link.call is call:
            self._close(call.link, GAVE_UP)


def _attempt(call: Call, ended_us: int, status: int, answer: bytes) -> Attempt:
    raw, _, body = answer.partition(b"\r\n\r\n")
    head = raw.lower()
    parts = dict(_PARTS.findall(_header(head, b"server-timing")))
    reason = _REASON.search(body) if status >= 400 else None
    told_ms = _header(head, b"stoker-retry-after-ms")
    return Attempt(
        call.index,
        call.number,
        call.due_us,
        call.sent_us,
        ended_us,
        status,
        reason[1].decode() if reason else "",
        round(1000 * float(parts.get(b"queue", 0))),
        round(1000 * float(parts.get(b"exec", 0))),
        _header(head, b"stoker-device").decode(),
        1000 * int(told_ms) if told_ms else None,
        bool(call.ticket),
        b"\r\nstoker-ticket: " in head,
    )


def _header(head: bytes, name: bytes) -> bytes:
    """Its value in a head in lower case; empty where it is missing."""
    at = head.find(b"\r\n" + name + b": ")
    return head[at + len(name) + 4 :].split(b"\r\n", 1)[0] if at >= 0 else b""


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def main() -> None:
    plan = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    gc.disable()
    Path(sys.argv[2]).write_bytes(msgspec.msgpack.encode(Generator(plan).play()))


if __name__ == "__main__":
    main()
