"""A function for tests: one HTTP server whose path says how it behaves and whose environment says how it starts.

Standard library only, so that it starts in tens of milliseconds. Every start and every request is a line in
$EVENT_LOG (one write each, so that lines of several replicas never mix).
"""

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

EVENT_LOG = os.environ.get("EVENT_LOG", os.devnull)
TAG = os.environ.get("TAG", "")


def event(*words: object) -> None:
    line = " ".join(str(word) for word in (time.monotonic(), os.environ.get("STOKER_REPLICA", "-"), *words))
    with open(EVENT_LOG, "a", encoding="utf-8") as log:
        log.write(line + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: the second would wait 40 ms for an ACK

    def log_message(self, *_: object) -> None:
        pass

    def body_bytes(self) -> int:
        """Read and count the body; never hold it."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            total = 0
            while size := int(self.rfile.readline(), 16):
                total += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return total
        left = int(self.headers.get("Content-Length", 0))
        total = left
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        return total

    def answer(self, text: str, status: int = 200) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        event("begin", url.path, query.get("id", "-"))
        got = self.body_bytes()
        match url.path:
            case "/sleep":
                time.sleep(int(query["ms"]) / 1000)
                self.answer(f"slept {query['ms']}")
            case "/whoami":
                self.answer(f"{os.getpid()} {os.environ.get('STOKER_REPLICA')} {TAG}")
            case "/env":
                self.answer("\n".join(f"{name}={value}" for name, value in sorted(os.environ.items())))
            case "/headers":
                self.answer("".join(f"{name}: {value}\n" for name, value in self.headers.items()))
            case "/sse":
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for number in range(int(query["n"])):
                    data = f"data: {number}\n\n".encode()
                    self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                    self.wfile.flush()
                    time.sleep(int(query["ms"]) / 1000)
                self.wfile.write(b"0\r\n\r\n")
            case "/crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "/hang":
                time.sleep(3600)
            case "/garbage":
                self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
                self.close_connection = True
            case "/half":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"only this")
                self.wfile.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            case "/status":
                self.answer("as asked", int(query["code"]))
            case _:
                self.answer(f"{url.path} {got} {TAG}")
        event("end", url.path, query.get("id", "-"))

    do_POST = do_PUT = do_DELETE = do_GET


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        pass


def main() -> None:
    event("start", TAG)
    if os.environ.get("FAIL_START"):
        print("cannot start: FAIL_START is set", file=sys.stderr)
        sys.exit(3)
    time.sleep(float(os.environ.get("START_S", "0")))
    if os.environ.get("NEVER_READY"):
        time.sleep(3600)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
