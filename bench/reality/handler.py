"""A function whose every request takes a known amount of work: `GET /?units=12.5`, standard library only.

`KIND=sleeping`: a unit is a millisecond of sleep. `KIND=computing`: a unit is HASHES of a block, about a millisecond of
one core. Hashing, because each step needs the one before: where two hardware threads share a core, what a loop of
Python takes was seen to change by 30 % with what runs on the other, and this by 5 %. `LOAD_S` is what starting takes
besides the start of Python, `SLOWER` how many times as long its units take. When it listens it writes the instant to
the file `STAMPS`, on the clock of the platform.
"""

import os
import signal
import socket
import threading
import time
from hashlib import sha256

HASHES = 80
BLOCK = bytes(16_384)
SLOWER = float(os.environ.get("SLOWER", "1"))
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\ndone\n"


def sleep(units: float) -> None:
    time.sleep(units / 1000)


def compute(units: float) -> None:
    for _ in range(round(units * HASHES)):
        sha256(BLOCK).digest()


def answer(connection: socket.socket) -> None:
    work = {"sleeping": sleep, "computing": compute}[os.environ["KIND"]]
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    with connection:
        try:
            while data := connection.recv(65536):
                head += data
                if head.endswith(b"\r\n\r\n"):
                    work(SLOWER * float(head.split(b" ", 2)[1].rpartition(b"=")[2]))
                    connection.sendall(ANSWER)
                    head = b""
        except OSError:
            return  # a probe, or a gateway that left


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(float(os.environ["LOAD_S"]))
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
    line = f"{os.environ['STOKER_REPLICA']} {time.monotonic_ns() // 1000}\n"
    with open(os.environ["STAMPS"], "a", encoding="utf-8") as stamps:  # noqa: PTH123  pathlib costs start-up time
        stamps.write(line)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
