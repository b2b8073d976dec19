"""The two commands of the README's first minute, and what else the ``pileus`` command tells of a running cloud."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e_guests import Guest, Key, Launcher
from e2e_machine import Machine

from pileus import __version__

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

COMMAND = ("first-instance", "--family", "tiny", "--type", "t3.nano")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home directory of somebody new."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def said(machine: Machine, shared_launch: Launcher, ec2: Any, home: Path) -> str:
    """What the command says the first time."""
    text = machine.pileus(*COMMAND, home=home)
    shared_launch.adopt({"Instances": find(ec2)}, key=Key("pileus-first", home / ".ssh/pileus-first.pem"))
    return text


@pytest.fixture(scope="module")
def guest(said: str, shared_launch: Launcher) -> Guest:
    """The first instance."""
    (guest,) = shared_launch.launched
    return guest


def find(ec2: Any) -> list[Any]:
    """All instances that are called as the command calls its own."""
    named = [{"Name": "tag:Name", "Values": ["pileus-first"]}]
    return [one for found in ec2.describe_instances(Filters=named)["Reservations"] for one in found["Instances"]]


def ssh_line(text: str) -> str:
    """The line to log in with."""
    (line,) = re.findall(r"^ +(ssh -i .*)$", text, re.MULTILINE)
    return line


def test_the_printed_line_logs_in(said: str, guest: Guest, home: Path) -> None:
    line = ssh_line(said)
    assert line == f"ssh -i {home}/.ssh/pileus-first.pem ec2-user@{guest.describe()['PublicIpAddress']}"
    # As printed, but for what the first login to any new host asks for.
    first, *rest = shlex.split(line)
    unknown = (
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        f"UserKnownHostsFile={home}/known",
        "-o",
        "BatchMode=yes",
    )
    done = subprocess.run([first, *unknown, *rest, "id -un"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ec2-user\n"), done.stderr


def test_every_step_is_shown_with_the_time(said: str) -> None:
    steps = re.findall(r"^ *(\d+\.\d) s  (\S.*)$", said, re.MULTILINE)
    assert [step.split()[0] for _, step in steps] == ["making", "making", "launching", "waiting", "waiting", "SSH"]
    assert [float(time) for time, _ in steps] == sorted(float(time) for time, _ in steps)


def test_the_second_time_changes_nothing(machine: Machine, ec2: Any, said: str, home: Path) -> None:
    before, key = find(ec2), (home / ".ssh/pileus-first.pem").read_text()
    again = machine.pileus(*COMMAND, home=home)
    assert "launching" not in again
    assert ssh_line(again) == ssh_line(said)
    assert find(ec2) == before
    assert (home / ".ssh/pileus-first.pem").read_text() == key


def supervisor_line(machine: Machine) -> str:
    """What ``pileus status`` says of the process that keeps the others running."""
    (line,) = re.findall(r"^supervisor +process \d+$", machine.pileus("status"), re.MULTILINE)
    return line


def test_up_again_is_harmless(machine: Machine, guest: Guest) -> None:
    before = guest.login().run("cat /proc/sys/kernel/random/boot_id")
    supervisor = supervisor_line(machine)
    assert f"http://127.0.0.1:{machine.port}" in machine.pileus("up")
    assert supervisor_line(machine) == supervisor
    assert guest.login().run("cat /proc/sys/kernel/random/boot_id") == before


def test_status(machine: Machine, guest: Guest) -> None:
    text = machine.pileus("status")
    assert str(machine.root) in text
    assert re.search(rf"^api +http://127\.0\.0\.1:{machine.port} answers$", text, re.MULTILINE)
    assert re.search(r"^instances +us-east-1: .*\b1 running\b", text, re.MULTILINE)


def test_doctor_finds_nothing_missing(machine: Machine) -> None:
    lines = machine.pileus("doctor").splitlines()
    assert [line for line in lines if not line.startswith("ok  ")] == []
    assert lines[-1].split() == ["ok", "accelerator", "tcg"]


def test_ami_list_shows_what_describe_images_shows(machine: Machine, images: dict[str, str]) -> None:
    rows = [line.split() for line in machine.pileus("ami", "list").splitlines()]
    assert {row[0]: row[3] for row in rows} == {images["tiny"]: "ec2-user", images["debian-12"]: "admin"}


def test_logs_name_the_request(machine: Machine, ec2: Any) -> None:
    request = ec2.describe_regions()["ResponseMetadata"]["RequestId"]
    assert request in machine.pileus("logs", "api", "-n", "20")


def test_version(machine: Machine) -> None:
    assert machine.pileus("version") == f"{__version__}\n" == machine.pileus("--version")
