"""Text recognition: POST a picture, get its lines of text. The models are those inside the rapidocr wheel."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import onnxruntime
from rapidocr import RapidOCR

MAX_BYTES = 16 * 2**20
DEVICE, SIMULATED = os.environ.get("STOKER_DEVICE", "cpu"), os.environ.get("STOKER_DEVICE_SIMULATED") == "1"
# A simulated GPU does the accounting only: the CPU does the work, and the answer says so.
CUDA = DEVICE != "cpu" and not SIMULATED and "CUDAExecutionProvider" in onnxruntime.get_available_providers()

engine = RapidOCR(
    params={
        "Global.log_level": "error",
        # One thread each, so that replicas that share the cores do not slow one another by more than their share.
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "EngineConfig.onnxruntime.use_cuda": CUDA,
    }
)


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1  # buffered: head and body leave together

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/healthz" else 404, {})

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        if not 0 < size <= MAX_BYTES:
            self.close_connection = True  # the body, if there is one, stays unread
            self.answer(413 if size else 411, {"error": f"send a picture of up to {MAX_BYTES} bytes with its length"})
            return
        try:
            found = engine(self.rfile.read(size))
        except (OSError, ValueError) as error:
            self.answer(400, {"error": f"cannot read the picture: {error}"})
            return
        pairs = zip(found.txts or (), found.scores or (), strict=True)
        lines = [{"text": text, "confidence": round(float(score), 3)} for text, score in pairs]
        facts = {"device": DEVICE, "simulated": SIMULATED, "computedOn": "gpu" if CUDA else "cpu"}
        self.answer(200, {"lines": lines} | facts)

    def answer(self, status: int, value: dict[str, object]) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


engine(Path(__file__).with_name("page.png").read_bytes())  # load the models now: ready means ready
ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Handler).serve_forever()
