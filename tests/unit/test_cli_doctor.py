"""The doctor says what is so and how to fix it, on machines good and bad."""

import socket
from pathlib import Path

import pytest

from stoker.model.device import Device, DeviceKind
from stoker_cli import doctor as under_test
from stoker_cli.doctor import Finding, Level, disk, doctor, findings_of, gpus, instances, machine, port
from stoker_cli.state_file import ServeState, write_state
from stoker_node.devices import DeviceProbe, DevicesUnavailable

pytestmark = pytest.mark.unit


class Gpus:
    def __init__(self, *devices: Device) -> None:
        self.devices = devices
        self.closed = False

    def list(self) -> tuple[Device, ...]:
        return self.devices

    def close(self) -> None:
        self.closed = True


def gpu(*, healthy: bool = True) -> Device:
    return Device(
        id="GPU-1", kind=DeviceKind.GPU, product="L4-24GB", memory_mib=23034, healthy=healthy, reason="it is lost"
    )


def no_driver() -> DeviceProbe:
    raise DevicesUnavailable("No NVIDIA GPU can be used: no driver.")


def test_a_machine_of_one_core_and_little_memory_is_warned_about() -> None:
    assert [finding.level for finding in machine(2, 8000)] == [Level.OK, Level.OK]
    findings = list(machine(1, 100))
    assert [finding.level for finding in findings] == [Level.WARN, Level.WARN]
    assert all(finding.fix for finding in findings)


def test_a_home_that_cannot_be_found_is_a_warning() -> None:
    assert next(disk({})).level is Level.WARN


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        finding = next(port(number))
    assert finding.level is Level.WARN
    assert str(number) in str(finding)
    assert "--port" in finding.fix


def test_healthy_unhealthy_and_missing_gpus_are_told_apart() -> None:
    probe = Gpus(gpu(), gpu(healthy=False))
    assert [finding.level for finding in gpus(lambda: probe)] == [Level.OK, Level.FAIL]
    assert probe.closed
    assert [finding.level for finding in gpus(Gpus)] == [Level.WARN]
    assert [finding.level for finding in gpus(no_driver)] == [Level.WARN]


def test_running_and_stale_instances_are_listed_and_nothing_is_removed(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    path = write_state(
        ServeState(pid=2**22 + 1, url="http://127.0.0.1:1", internal="http://127.0.0.1:2", started=""), environ
    )
    levels = [finding.level for finding in instances(environ)]
    assert levels == [Level.OK, Level.WARN]
    assert path.exists()


def test_a_check_that_breaks_is_a_finding_and_stops_no_other(tmp_path: Path) -> None:
    findings = list(findings_of({"HOME": str(tmp_path), "TMPDIR": "/does/not/exist"}, no_driver))
    assert any(finding.subject == "check" and finding.level is Level.WARN for finding in findings)
    assert findings[-1].subject == "instances"


def test_the_exit_code_is_1_only_when_something_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for level, code in ((Level.WARN, 0), (Level.FAIL, 1)):
        monkeypatch.setattr(
            under_test, "findings_of", lambda *_, level=level: iter([Finding(level, "thing", "is so", "do that")])
        )
        assert doctor({}, no_driver) == code
        assert f"{level}" in capsys.readouterr().out
