"""What top, explain and invoke make of the state and of an answer."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from rich.console import Console

from stoker.decisions import RequestRecord
from stoker.model.function import Variant
from stoker.reasons import Outcome
from stoker_cli import console
from stoker_cli.console import CommandFailed
from stoker_cli.explain import explain, function_sentences
from stoker_cli.invoke import Call, invoke, server_timing
from stoker_cli.state_file import ServeState, write_state
from stoker_cli.state_view import ConditionView, DeviceView, FunctionView, ResidentView, SloView, StateView, VariantView
from stoker_cli.top import picture, top

pytestmark = pytest.mark.unit


def function_view() -> FunctionView:
    return FunctionView(
        url="http://127.0.0.1:8080/default/ocr/",
        revision="abc",
        timeout_ms=60_000,
        primary=Variant.GPU,
        conditions=[ConditionView(type="Ready", status=False, reason="WaitingForGpu", message="two GPUs are busy")],
        variants={Variant.GPU: VariantView(replicas={"warm": 2, "starting": 1}, queued=7, running=2, exec_p50_ms=12.5)},
        classes={"slow": 5000},
        slo=SloView(latency_ms=250, offered=1000, on_time=999, late=1, cold=3),
    )


def state_view() -> StateView:
    device = DeviceView(
        id="sim-0",
        label="A100-40GB/sim-0 (simulated)",
        product="A100-40GB",
        kind="gpu",
        simulated=True,
        healthy=True,
        reason="",
        memory_mib=40960,
        reserved_mib=4096,
        residents=[ResidentView(replica="default/ocr-abc-0", state="warm", memory_mib=4096, in_flight=1)],
    )
    return StateView(
        pid=1,
        url="http://127.0.0.1:8080",
        uptime_s=3725,
        queueing="least-slack",
        draining=False,
        functions={"default/ocr": function_view()},
        devices=[device],
        records=5,
        records_kept=10,
    )


class Handler(http.server.BaseHTTPRequestHandler):
    """Stands for the gateway and for the internal listener."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        record = RequestRecord(id="r-1", function="default/ocr", arrived_at="", outcome=Outcome.SERVED, status=200)
        answers: dict[str, Any] = {"/v1/state": state_view(), "/v1/requests/r-1": record}
        if self.path in answers:
            self.answer(200, msgspec.json.encode(answers[self.path]))
        elif self.path == "/default/ocr/refuse":
            problem = b'{"status":429,"reason":"PredictedMiss","detail":"It would take 3 s.","retryAfterMs":1500}'
            self.answer(429, problem, {"Content-Type": "application/problem+json", "Stoker-Outcome": "refused"})
        elif self.path.startswith("/default/ocr"):
            self.answer(
                200,
                b"text",
                {
                    "Stoker-Outcome": "served",
                    "Stoker-Cold-Start": "0",
                    "Stoker-Device": "A100-40GB/sim-0 (simulated)",
                    "Stoker-Request-Id": "r-1",
                    "Server-Timing": "queue;dur=1.5, start;dur=0, exec;dur=30",
                },
            )
        else:
            self.answer(404, b"")

    do_POST = do_PUT = do_GET

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    Handler.seen.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    environ = {"HOME": str(tmp_path)}
    write_state(ServeState(pid=os.getpid(), url=url, internal=url, started="2026"), environ)
    yield environ
    server.shutdown()
    server.server_close()
    thread.join()


def test_invoke_prints_the_body_and_one_line_about_it(
    environ: dict[str, str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    call = Call(function="ocr", data='{"a":1}', deadline="200ms", path="a b?x=1", headers=("X-Mine: yes",))
    assert invoke(call, environ) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"text"
    line = err.decode()
    assert line.count("\n") == 1
    for part in ("200 served", "queue 1.5 ms", "exec 30 ms", "warm", "(simulated)", "on time", "200 ms", "request r-1"):
        assert part in line
    method, path, headers, body = Handler.seen[-1]
    assert (method, path, body) == ("POST", "/default/ocr/a%20b?x=1", b'{"a":1}')
    assert headers["stoker-deadline-ms"] == "200"
    assert headers["content-type"] == "application/json"
    assert headers["x-mine"] == "yes"


def test_an_answer_is_held_against_the_objective_of_its_class(
    environ: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert invoke(Call(function="ocr", headers=("stoker-class: slow",)), environ) == 0
    assert "on time for its objective of 5 s" in capfd.readouterr().err


def test_a_refusal_is_exit_code_1_with_reason_and_wait(
    environ: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert invoke(Call(function="default/ocr", path="/refuse"), environ) == 1
    err = capfd.readouterr().err
    assert "429 refused" in err
    assert "PredictedMiss: It would take 3 s; retry after 1.5 s" in err


def test_a_file_is_sent_whole_and_the_answer_goes_to_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"x" * 200_000)
    assert invoke(Call(function="ocr", data=f"@{source}", output=str(target), method="put"), environ) == 0
    method, _, headers, body = Handler.seen[-1]
    assert (method, len(body)) == ("PUT", 200_000)
    assert headers["content-length"] == "200000"
    assert "transfer-encoding" not in headers
    assert target.read_bytes() == b"text"


def test_an_answer_that_cannot_be_written_is_one_sentence(environ: dict[str, str]) -> None:
    with pytest.raises(CommandFailed, match="could not be written: No space left on device"):
        invoke(Call(function="ocr", output="/dev/full"), environ)


def test_a_reader_that_left_is_no_error_of_the_request(environ: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        invoke(Call(function="ocr", output=f"/dev/fd/{writer}"), environ)
    os.close(writer)


def test_an_unknown_function_is_named_with_the_known_ones(environ: dict[str, str]) -> None:
    with pytest.raises(CommandFailed, match=r"no function default/orc; its functions are default/ocr"):
        invoke(Call(function="orc"), environ)


def test_a_name_is_that_of_namespace_default_else_the_only_one() -> None:
    view = state_view()
    view.functions = dict.fromkeys(("default/ocr", "team/ocr", "team/asr", "a/tts", "b/tts"), function_view())
    assert [view.key_of(name) for name in ("ocr", "team/ocr", "asr", "tts", "/team/asr/", "none", "", "a/none")] == [
        "default/ocr",
        "team/ocr",
        "team/asr",
        None,
        "team/asr",
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"not json", b'{"pid": 1}'])
def test_what_is_not_the_state_of_this_version_is_one_sentence(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr("stoker_cli.internal_client.get_json", lambda *_: body)
    for command in (
        lambda: invoke(Call(function="ocr"), environ),
        lambda: top(environ, port=None, once=True),
        lambda: explain("default/ocr", environ, None),
    ):
        with pytest.raises(CommandFailed, match="of this version"):
            command()


def test_server_timing_is_read_leniently() -> None:
    assert server_timing("queue;dur=1, exec;desc=x;dur=2.5,odd,bad;dur=x") == {"queue": 1.0, "exec": 2.5}
    assert server_timing("") == {}


def test_top_shows_functions_and_devices() -> None:
    screen = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with screen.file:
        screen.print(picture(state_view()))
        text = screen.export_text()
    for part in ("default/ocr", "WaitingForGpu", "99.9 %", "12.5 ms", "(simulated)", "4 GiB / 40 GiB"):
        assert part in text
    assert "1:02:05" in text


def test_top_off_a_terminal_prints_once(environ: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    top(environ, port=None, once=False)
    assert "default/ocr" in capfd.readouterr().out


def test_top_shows_the_reason_of_a_device_as_it_is(
    environ: dict[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = state_view()
    view.devices[0].healthy, view.devices[0].reason = False, "Xid 79 [/sys] [red] :smile:"
    monkeypatch.setattr("stoker_cli.internal_client.get_json", lambda *_: msgspec.json.encode(view))
    top(environ, port=None, once=True)
    assert "Xid 79 [/sys] [red] :smile:" in capfd.readouterr().out


def test_what_functions_wrote_gives_no_orders_to_a_terminal() -> None:
    assert console.printable("a\x1b[31m\x00ü\nb\r\x9b") == "a?[31m?ü\nb??"
    assert console.one_line("last words:\n\x1b]0;title\x07") == "last words: ?]0;title?"


def test_explain_finds_a_request_a_function_and_says_what_it_does_not_know(environ: dict[str, str]) -> None:
    assert "served" in explain("r-1", environ, None).lower()
    assert "two GPUs are busy" in explain("default/ocr", environ, None)
    assert "two GPUs are busy" in explain("ocr", environ, None)
    with pytest.raises(CommandFailed, match=r"keeps the newest 10 and has 5 now"):
        explain("r-2", environ, None)
    with pytest.raises(CommandFailed, match="no function default/none"):
        explain("default/none", environ, None)


def test_a_function_is_described_by_condition_replicas_and_attainment() -> None:
    text = function_sentences("default/ocr", function_view())
    assert "Ready is false (WaitingForGpu): two GPUs are busy" in text
    assert "2 warm, 1 starting" in text
    assert "99.9 % of 1000 requests were on time for 250 ms" in text
    assert "1 late" in text


def test_percent_never_rounds_a_miss_away() -> None:
    assert console.percent(99_999, 100_000) == "99.9 %"
    assert console.percent(5, 5) == "100 %"
    assert console.percent(0, 0) == "-"
    assert console.listed("abcdefg") == "a, b, c, d, e and 2 more"


def test_a_function_says_why_its_requests_were_refused_and_why_they_ran_on_the_cpu() -> None:
    view = function_view()
    assert "by reason" not in function_sentences("default/ocr", view)
    view.refusals, view.diverted = {"QueueFull": 3, "PredictedMiss": 12}, {"PredictedMiss": 4}
    text = function_sentences("default/ocr", view)
    assert "Refused by reason: 12 PredictedMiss, 3 QueueFull." in text
    assert "Ran on the CPU variant by reason: 4 PredictedMiss." in text


def test_the_figures_of_top_are_whole_on_a_terminal_of_80_columns() -> None:
    screen = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    view = state_view()
    view.functions["default/ocr"].slo.refused = 123456
    with screen.file:
        screen.print(picture(view))
        text = screen.export_text()
    for part in ("99.9 %", "12.5 ms", "250 ms", "123456", "2/1/0", "0/7/2", "1000"):
        assert part in text
