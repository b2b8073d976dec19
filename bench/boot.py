"""From RunInstances to SSH answering, beside the same image booted by a bare QEMU command with the same devices."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator

from bare_guest import WAIT_FOR_BANNER, BareGuest  # pyright: ignore[reportMissingImports] - of tests/conformance

from bench.measure import OURS, Aim, Row, in_turns
from bench.servers import Launcher, RealPileus, running

_BARE = "bare QEMU"
_ROUNDS = 5
_PATIENCE = "240"
_MEMORY, _VCPUS = 512, 2
"""Those of t3.nano."""

_GROUP = re.compile(rb"<groupId>(sg-[0-9a-f]+)</groupId>")
_ADDRESS = re.compile(rb"<ipAddress>([0-9.]+)</ipAddress>")


def measure(family: str) -> Iterator[Row]:
    """One row. Both are measured once before, so that files are in memory and the accelerator is chosen."""
    cloud = RealPileus(family)
    with running(cloud):
        launcher = Launcher(cloud)
        open_ssh(launcher)
        _wait_for_end(launcher, launcher.launch(1)[0])
        accelerator = cloud.accelerator
        options = "kvm" if accelerator == "kvm" else "tcg,thread=multi,tb-size=128"
        subjects = {OURS: lambda: _launched(launcher), _BARE: lambda: _bare(cloud, options)}
        in_turns(subjects, rounds=1)
        medians = in_turns(subjects, rounds=_ROUNDS, budget=300)
    what = f"RunInstances to SSH, {family} ({accelerator})"
    yield Row(what=what, unit="s", medians=medians, aim=Aim("at most", 1.1, _BARE))


def open_ssh(launcher: Launcher) -> None:
    """Lets SSH in through the default group."""
    found = _GROUP.search(launcher.call("DescribeSecurityGroups", {"GroupName.1": "default"}))
    assert found is not None
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges.1.CidrIp": "0.0.0.0/0"}
    permission = {f"IpPermissions.1.{name}": value for name, value in rule.items()}
    launcher.call("AuthorizeSecurityGroupIngress", {"GroupId": found[1].decode(), **permission})


def _launched(launcher: Launcher) -> float:
    begin = time.perf_counter()
    instance_id = launcher.launch(1)[0]
    while (address := _ADDRESS.search(launcher.call("DescribeInstances", {"InstanceId.1": instance_id}))) is None:
        time.sleep(0.02)
    subprocess.run([sys.executable, "-c", WAIT_FOR_BANNER, address[1].decode(), _PATIENCE], check=True)
    seconds = time.perf_counter() - begin
    _wait_for_end(launcher, instance_id)
    return seconds


def _wait_for_end(launcher: Launcher, instance_id: str) -> None:
    """Terminates an instance and waits until it is gone, so that nothing runs beside the next measurement."""
    launcher.call("TerminateInstances", {"InstanceId.1": instance_id})
    while b"<name>terminated</name>" not in launcher.call("DescribeInstances", {"InstanceId.1": instance_id}):
        time.sleep(0.1)


def _bare(cloud: RealPileus, options: str) -> float:
    with BareGuest(cloud.image, memory=_MEMORY, vcpus=_VCPUS, accelerator=options) as guest:
        begin = time.perf_counter()
        guest.start()
        guest.wait_for_ssh(float(_PATIENCE))
        return time.perf_counter() - begin
