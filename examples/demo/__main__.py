"""`make demo`: serves the functions of examples/ and shows what a user sees. Every figure is measured as it runs."""

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import yaml
from calling import Answer, Client
from overload import OFFERED, SECONDS, STREAMS, overload
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from serving import DemoError, Serving, free_port

from stoker.model.quantity import format_duration, parse_duration_us

EXAMPLES = Path(__file__).resolve().parents[1]
FILES = [
    EXAMPLES / name for name in ("ocr/function.yaml", "vad/function.yaml", "busy/function.yaml", "busy/contrast.yaml")
]
# The third device is there for the contrast: one large GPU that several functions share.
GPUS = "2xA100-40GB,1xA100-80GB"
POLICIES = {
    "fcfs": ("fcfs", "none"),
    "least-slack": ("least-slack", "none"),
    "admission": ("least-slack", "schedule-based"),
}
"""Queueing and admission of a GpuPolicy, by what the table calls it."""
COLUMNS = ("offered", "on_time", "late", "refused", "told_when", "cold_starts")

out = Console(highlight=False, soft_wrap=True)


def objectives_us() -> dict[str, int]:
    """slo.latency of each function, read from the files that are served."""
    documents = [document for file in FILES for document in yaml.safe_load_all(file.read_text())]
    return {
        document["metadata"]["name"]: parse_duration_us(document["spec"]["slo"]["latency"]) for document in documents
    }


def title(text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")


def show(kind: str, answer: Answer, objective_us: int) -> None:
    taken_us = round(answer.seconds * 1e6)
    verdict = f"{'on time' if taken_us <= objective_us else 'late'} for {format_duration(objective_us)}"
    timing = answer.headers.get("server-timing", "none")
    out.print(f"   {kind:5} {answer.status} in {format_duration(taken_us):>7}   {verdict}   Server-Timing: {timing}")


async def cold_and_warm(client: Client, function: str, sample: str, objective_us: int, warm_calls: int) -> Answer:
    """The first call finds no replica; the next ones do. Returns the last answer. Raises DemoError on any but 200."""
    body = await asyncio.to_thread((EXAMPLES / sample).read_bytes)
    for turn in range(1 + warm_calls):
        answer = await client.call(function, body)
        if answer.status != 200:
            raise DemoError(f"{function} answered {answer.status}: {answer.value}")
        show("warm" if turn else "cold", answer, objective_us)
        start_ms = answer.timing_ms("start")
        if turn == 0 and start_ms is not None and start_ms * 1000 > objective_us:
            out.print(
                "         start-up alone takes longer than the objective: a cold miss is counted, the user is served"
            )
    return answer


def computed(answer: Answer) -> str:
    value = answer.value
    where = f"on {value['device']}, computed on the {value['computedOn']}"
    return f"{where} (the simulated GPU does the accounting only)" if value["simulated"] else where


async def recognise_text(client: Client, objective_us: int) -> None:
    title("1  Text recognition (examples/ocr): a photographed page, models of rapidocr")
    answer = await cold_and_warm(client, "ocr", "ocr/page.png", objective_us, warm_calls=1)
    for line in answer.value["lines"]:
        out.print(f"   {line['confidence']:.2f}  {escape(line['text'])}")
    out.print(f"   {computed(answer)}")


async def find_speech(client: Client, objective_us: int) -> None:
    title("2  Speech activity (examples/vad): a human reader, model of silero-vad")
    answer = await cold_and_warm(client, "vad", "vad/speech.wav", objective_us, warm_calls=3)
    segments = ", ".join(f"{segment['start_s']:.2f}-{segment['end_s']:.2f} s" for segment in answer.value["segments"])
    out.print(f"   speech at {segments}; {answer.value['speechRatio']:.0%} of the recording")
    out.print(f"   {computed(answer)}")


async def be_refused(client: Client, serving: Serving, objective_us: int) -> None:
    title(f"3  A refusal (examples/busy): it would rather refuse than miss its {format_duration(objective_us)}")
    busy_ms = round(objective_us / 1000 * 0.6)
    for _ in range(3):  # its execution time is learnt from these
        await client.call("busy", query=f"?ms={busy_ms}")
    answers = await asyncio.gather(*(client.call("busy", query=f"?ms={busy_ms}") for _ in range(4)))
    out.print(f"   4 requests of {busy_ms} ms at once: {', '.join(str(answer.status) for answer in answers)}")
    refused = next((answer for answer in answers if answer.status == 429), None)
    if refused is None:
        raise DemoError("none of the requests to busy was refused")
    out.print(f"   reason: {refused.value['reason']}   detail: {escape(refused.value['detail'])}")
    headers = refused.headers
    out.print(
        f"   Retry-After: {headers.get('retry-after')}   Stoker-Retry-After-Ms: {headers.get('stoker-retry-after-ms')}"
    )
    request_id = headers["stoker-request-id"]
    out.print(f"   $ stoker explain {request_id}")
    for line in (await asyncio.to_thread(serving.stoker, "explain", request_id)).splitlines():
        out.print(f"     {escape(line)}")


async def choose_policy(client: Client, policy_file: Path, queueing: str, admission: str) -> None:
    """Write the GpuPolicy as a user would, and wait until it acts and the functions are at zero."""
    temporary = policy_file.with_suffix(".new")
    spec = {"queueing": queueing, "admission": {"policy": admission}}
    kind = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}
    temporary.write_text(yaml.safe_dump({**kind, "spec": spec}))
    temporary.replace(policy_file)
    for _ in range(200):
        state = await client.state()
        variants = [v for s in STREAMS for v in state["functions"][f"default/{s.function}"]["variants"].values()]
        acts = state["queueing"] == queueing and state["policy"]["admission"] == admission
        if acts and not any(sum(variant["replicas"].values()) for variant in variants):
            return
        await asyncio.sleep(0.05)
    raise DemoError(f"the policy {spec} does not act, or the functions did not scale to zero, within 10 s")


async def contrast(client: Client, policy_file: Path, objectives: dict[str, int]) -> None:
    streams = ", ".join(f"{s.function} {s.per_second:g}/s of {s.busy_ms} ms" for s in STREAMS)
    title(f"4  {SECONDS:g} s of the same overload on one shared GPU, under one policy and then the next")
    out.print(f"   {streams}: {OFFERED:.2f} times what the GPU can do")
    table = Table(box=None, padding=(0, 1))
    for column in ("policy", "function", *COLUMNS):
        table.add_column(column.replace("_", "\n"), justify="right" if column in COLUMNS else "left", no_wrap=True)
    table.add_column("GPU\nms", justify="right")
    for policy, (queueing, admission) in POLICIES.items():
        await choose_policy(client, policy_file, queueing, admission)
        out.print(f"   GpuPolicy queueing: {queueing}, admission policy: {admission} act; sending ...")
        run = await overload(client, {name: us / 1e6 for name, us in objectives.items()})
        for name, count in run.counts.items():
            within = f"{name} ({format_duration(objectives[name])})"
            table.add_row(policy, within, *(str(getattr(count, column)) for column in COLUMNS))
        totals = (str(run.total(column)) for column in COLUMNS)
        table.add_row(policy, "both", *totals, f"{run.gpu_ms_per_useful:.0f}", style="bold", end_section=True)
        if failed := run.total("failed"):
            raise DemoError(f"{failed} requests got an answer other than 200, 429, 503 and 504")
    out.print(table)
    out.print("   admission: least-slack, and only what can be on time is taken; the others are told when to come back")
    out.print("   GPU ms: that the GPU was held for each answer on time; what comes late held it for nothing")


async def keep(serving: Serving) -> None:
    out.print(f"\nStoker stays up at [bold]{serving.url}[/bold] until Ctrl-C. In another terminal:")
    out.print(f"   curl --data-binary @examples/ocr/page.png {serving.url}/default/ocr/")
    out.print(f"   .venv/bin/stoker invoke vad -d @examples/vad/speech.wav --port {serving.port}")
    out.print(f"   .venv/bin/stoker top --port {serving.port}")
    with contextlib.suppress(asyncio.CancelledError):  # told to end: that is how this ends well
        await asyncio.Event().wait()


async def demo(wanted_port: int, keeps: bool, folder: Path) -> None:
    port = free_port(wanted_port)
    if port != wanted_port:
        out.print(f"Port {wanted_port} or {wanted_port + 1} is taken; using {port} and {port + 1}.")
    policies = folder / "policies"
    policies.mkdir()
    serving = Serving([*FILES, policies], GPUS, port, folder)
    try:
        shown = " ".join(f"examples/{file.relative_to(EXAMPLES)}" for file in FILES)
        out.print(f"$ stoker serve {shown} {policies} --gpus {GPUS} --port {port}")
        await serving.start()
        objectives = objectives_us()
        async with Client(serving.url, serving.internal) as client:
            await recognise_text(client, objectives["ocr"])
            await find_speech(client, objectives["vad"])
            await be_refused(client, serving, objectives["busy"])
            await contrast(client, policies / "policy.yaml", objectives)
            if keeps:
                await keep(serving)
    finally:
        serving.close()


async def until_told(wanted_port: int, keeps: bool, folder: Path) -> None:
    """The demo, ended in order by the first Ctrl-C, SIGTERM or closed terminal; later ones change nothing."""
    task = asyncio.create_task(demo(wanted_port, keeps, folder))
    loop = asyncio.get_running_loop()
    told: list[int] = []

    def stop(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        raise SystemExit(128 + told[0] if told else 1) from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stoker-demo-"))
    try:
        asyncio.run(until_told(options.port, options.keep, folder))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out.print("\nDone. Everything was stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
