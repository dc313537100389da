"""A function of a known length: POST /?ms=40 takes 40 ms. It sleeps, as a CPU does while a GPU computes."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

DEVICE, SIMULATED = os.environ.get("STOKER_DEVICE", "cpu"), os.environ.get("STOKER_DEVICE_SIMULATED") == "1"


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1  # buffered: head and body leave together

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            ms = min(max(float(parse_qs(urlsplit(self.path).query)["ms"][0]), 0), 60_000)
        except (KeyError, ValueError):
            self.answer(400, {"error": "say for how many milliseconds, as in POST /?ms=40"})
            return
        time.sleep(ms / 1000)
        self.answer(200, {"busyMs": ms, "device": DEVICE, "simulated": SIMULATED})

    def answer(self, status: int, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
