"""The commands as a user types them."""

import asyncio
import json
import socket

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


async def test_invoke_top_explain_and_doctor_find_the_running_platform(platform: Platform) -> None:
    platform.apply(function("hello"))
    await platform.start()
    code, out, err = await platform.cli("invoke", "hello", "-d", "some text", "--path", "/echo")
    assert (code, out.split()[1]) == (0, "9"), err
    assert "cold" in err
    code, _, err = await platform.cli("invoke", "hello")
    assert code == 0
    assert "warm" in err
    assert "simulated" in err
    code, out, _ = await platform.cli("top", "--once")
    assert code == 0
    assert "hello" in out
    assert "A100-40GB" in out
    request_id = (await platform.call("hello")).headers["Stoker-Request-Id"]
    code, out, _ = await platform.cli("explain", request_id)
    assert code == 0
    assert "served" in out.lower()
    code, out, _ = await platform.cli("explain", "default/hello")
    assert code == 0
    code, out, _ = await platform.cli("doctor")
    assert "Python" in out


async def test_errors_are_one_sentence_and_exit_code_2(platform: Platform) -> None:
    platform.apply(function("hello"))
    await platform.start()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        commands = [
            ("serve", str(platform.functions), "--port", port),
            ("serve", str(platform.folder / "missing.yaml")),
            ("serve", str(platform.functions), "--gpus", "many"),
            ("serve", str(platform.functions), "--queueing", "lifo"),
            ("serve",),
            ("invoke", "nothing-here"),
            ("invoke", "hello", "--deadline", "soon"),
            ("invoke", "hello", "-d", "@/does/not/exist"),
            ("explain", "no-such-request"),
            ("frobnicate",),
        ]
        for command in commands:
            code, _, err = await platform.cli(*command)
            assert code == 2, (command, code, err)
            assert len(err.strip().splitlines()) == 1, (command, err)


async def test_the_answer_says_that_the_gpu_is_simulated(platform: Platform) -> None:
    platform.apply(function("truth"))
    await platform.start()
    answer = await platform.call("truth", "/env")
    assert "(simulated)" in answer.headers["Stoker-Device"]
    environment = dict(line.split("=", 1) for line in answer.text.splitlines())
    assert environment["STOKER_DEVICE_SIMULATED"] == "1"
    assert environment["HOME"] != str(platform.home)
    assert "LD_PRELOAD" not in environment


async def test_platform_headers_of_clients_are_not_believed(platform: Platform) -> None:
    platform.apply(function("trust", scaling={"minReplicas": 1}))
    await platform.start()
    await platform.until_warm("trust")
    answer = await platform.call(
        "trust",
        "/headers",
        headers={
            "Stoker-Function": "other/one",
            "Stoker-Late-Ok": "1",
            "Stoker-Request-Id": "mine-1",
            "X-Mine": "kept",
        },
    )
    seen = answer.text.lower()
    assert "stoker-function" not in seen
    assert "stoker-late-ok" not in seen
    assert "x-mine: kept" in seen
    assert "stoker-request-id: mine-1" in seen
    assert answer.headers["Stoker-Request-Id"] == "mine-1"


async def test_logs_are_json_with_one_request_id(platform: Platform) -> None:
    platform.apply(function("logged"))
    await platform.start("--log-format", "json")
    answer = await platform.call("logged")

    def logged() -> bool:
        lines = [json.loads(line) for line in platform.output.read_text().splitlines() if line.startswith("{")]
        return answer.headers["Stoker-Request-Id"] in {line.get("request_id") for line in lines}

    await platform.until(logged, "the cold request is logged under its id")


async def test_mutual_tls_between_gateway_and_agent_serves_the_same(platform: Platform) -> None:
    platform.apply(function("secure"))
    await platform.start("--mtls")
    answers = await asyncio.gather(
        *(platform.call("secure", "/echo", method="POST", data=b"x" * 200_000) for _ in range(5))
    )
    assert [answer.status for answer in answers] == [200] * 5
