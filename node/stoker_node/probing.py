"""Is a replica that starts ready? One probe at a time until the first that succeeds; each bounded in time."""

import asyncio

from stoker.model.function import Probe

_MAX_LINE = 4096


async def wait_ready(host: str, port: int, probe: Probe, *, interval_s: float, timeout_s: float) -> None:
    """Probe every `interval_s` and return at the first success. A probe that hangs is given up after `timeout_s`."""
    loop = asyncio.get_running_loop()
    while True:
        began_s = loop.time()
        if await probe_once(host, port, probe, timeout_s=timeout_s):
            return
        await asyncio.sleep(max(0.0, interval_s - (loop.time() - began_s)))


async def probe_once(host: str, port: int, probe: Probe, *, timeout_s: float) -> bool:
    """Whether the port accepts and, where a path is given, answers it with 2xx or 3xx."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, limit=_MAX_LINE)
            try:
                named = f"[{host}]" if ":" in host else host
                return probe.path is None or await _answers(reader, writer, probe.path, f"{named}:{port}")
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, host: str) -> bool:
    writer.write(
        f"GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: stoker-probe\r\nconnection: close\r\n\r\n".encode()
    )
    try:
        line = await reader.readline()
    except ValueError:  # a first line without an end is no HTTP
        return False
    parts = line.split(b" ", 2)
    return len(parts) > 1 and parts[0].startswith(b"HTTP/1.") and parts[1][:1] in (b"2", b"3") and len(parts[1]) == 3
