"""Calls functions as any HTTP client would, and reads what the platform says of itself."""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

UNANSWERED = 0
"""The status of a request that got no answer at all."""


@dataclass(frozen=True)
class Answer:
    """One answer as the client saw it."""

    status: int
    seconds: float
    """From sending to the last byte."""
    headers: dict[str, str]
    value: Any

    def timing_ms(self, phase: str) -> float | None:
        """A phase of Server-Timing: queue, start or exec."""
        found = re.search(rf"\b{phase};dur=([0-9.]+)", self.headers.get("server-timing", ""))
        return float(found[1]) if found else None


class Client:
    """One client; `async with` it."""

    def __init__(self, url: str, internal: str) -> None:
        self.url = url
        self.internal = internal

    async def __aenter__(self) -> Self:
        # No limit on connections: an open loop must not wait for its own earlier requests.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=90)
        )
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._session.close()

    async def call(self, function: str, body: bytes = b"", query: str = "") -> Answer:
        """POST to a function of the namespace `default`. A broken connection is an answer too: status UNANSWERED."""
        begin = time.perf_counter()
        try:
            async with self._session.post(f"{self.url}/default/{function}/{query}", data=body) as answer:
                is_json = "json" in answer.headers.get("Content-Type", "")
                value = await answer.json(content_type=None) if is_json else await answer.text()
                headers = {name.lower(): text for name, text in answer.headers.items()}
                return Answer(answer.status, time.perf_counter() - begin, headers, value)
        except aiohttp.ClientError as error:
            return Answer(UNANSWERED, time.perf_counter() - begin, {}, str(error))

    async def state(self) -> dict[str, Any]:
        async with self._session.get(f"{self.internal}/v1/state") as answer:
            state: dict[str, Any] = await answer.json(content_type=None)
            return state

    async def idle(self, functions: list[str]) -> None:
        """Until nothing of the functions runs or waits: what nobody waits for any more holds its slot to its end."""
        while True:
            known = (await self.state())["functions"]
            variants = [v for name in functions for v in known[f"default/{name}"]["variants"].values()]
            if not any(v["running"] or v["queued"] for v in variants):
                # What is measured on the way is exported a moment later.
                await asyncio.sleep(0.2)
                return
            await asyncio.sleep(0.05)

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that bear the labels."""
        async with self._session.get(f"{self.internal}/metrics") as answer:
            text = await answer.text()
        return sum(
            float(value)
            for found, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE)
            if all(f'{key}="{content}"' in found for key, content in labels.items())
        )
