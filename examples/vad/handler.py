"""Speech activity: POST a 16 kHz mono WAV, get the segments with speech. The model is in the silero-vad wheel."""

import importlib.util
import io
import json
import os
import wave
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime

RATE, CHUNK, CONTEXT, MAX_BYTES = 16_000, 512, 64, 16 * 2**20
DEVICE, SIMULATED = os.environ.get("STOKER_DEVICE", "cpu"), os.environ.get("STOKER_DEVICE_SIMULATED") == "1"
folder = importlib.util.find_spec("silero_vad").submodule_search_locations[0]  # not imported: that would pull in torch
providers = ["CPUExecutionProvider"] if SIMULATED or DEVICE == "cpu" else onnxruntime.get_available_providers()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
model = onnxruntime.InferenceSession(f"{folder}/data/silero_vad_16k_op15.onnx", options, providers=providers)
COMPUTED_ON = "cpu" if model.get_providers()[0] == "CPUExecutionProvider" else "gpu"


def speech(content: bytes) -> dict[str, object]:
    with wave.open(io.BytesIO(content)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            raise wave.Error("it is not 16 kHz, 16 bit, mono")
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    found, state, tail = [], np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    for start in range(0, len(audio) - CHUNK + 1, CHUNK):
        chunk = np.concatenate([tail, audio[None, start : start + CHUNK]], axis=1)
        score, state = model.run(None, {"input": chunk, "state": state, "sr": np.array(RATE)})
        tail, begin, end = chunk[:, -CONTEXT:], round(start / RATE, 3), round((start + CHUNK) / RATE, 3)
        if score[0, 0] > 0.5 and found and begin - found[-1]["end_s"] < 0.2:  # a breath does not end a segment
            found[-1]["end_s"] = end
        elif score[0, 0] > 0.5:
            found.append({"start_s": begin, "end_s": end})
    talk = sum(segment["end_s"] - segment["start_s"] for segment in found)
    return {"segments": found, "speechRatio": round(talk * RATE / max(len(audio), 1), 3)}


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1  # buffered: head and body leave together

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self.close_connection = not 0 < size <= MAX_BYTES  # such a body stays unread
        try:
            status, answer = 200, speech(b"" if self.close_connection else self.rfile.read(size))
        except (wave.Error, EOFError, ValueError) as error:
            status, answer = 400, {"error": f"send a WAV of at most {MAX_BYTES} bytes: {str(error) or 'too short'}"}
        body = json.dumps(answer | {"device": DEVICE, "simulated": SIMULATED, "computedOn": COMPUTED_ON}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Handler).serve_forever()
