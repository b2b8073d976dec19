"""Networks of real guests: throughput and latency beside two guests on a bare bridge, rules, and interfaces by the hundred."""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bare_guest import BareGuest  # pyright: ignore[reportMissingImports] - of tests/conformance
from guest_program import GuestProgram  # pyright: ignore[reportMissingImports] - of tests/conformance

from bench import network_driver
from bench.measure import OURS, Aim, Row, in_turns
from bench.real import RealCloud, ssh
from bench.servers import ROOT, RealPileus, running
from bench.wire import REGION

_BARE = "bare bridge"
_TYPE, _MEMORY, _VCPUS = "t3.micro", 1024, 2
_PORT, _PROBED = 5201, 5202
_SECONDS = 2
_QUOTA = 5
"""Security groups that an interface may have."""

_TIME = re.compile(r"time=([\d.]+) ms")


class _Guests:
    """Four guests: two with an Elastic IP in one subnet, one in another, one more to carry rules, each with iperf3 servers."""

    def __init__(self, cloud: RealCloud) -> None:
        self.cloud = cloud
        self._vpc = cloud.ask("DescribeVpcs")["vpcId"]
        self._group = cloud.ask(
            "DescribeSecurityGroups", {"Filter.1.Name": "group-name", "Filter.1.Value.1": "default"}
        )["groupId"]
        self.allow(_PORT)
        cloud.ask("AuthorizeSecurityGroupIngress", {"GroupId": self._group, **_permission(1, -1, "icmp")})
        other = cloud.ask(
            "CreateSubnet", {"VpcId": self._vpc, "CidrBlock": "172.31.200.0/24", "AvailabilityZone": f"{REGION}a"}
        )
        there = {
            "NetworkInterface.1.DeviceIndex": 0,
            "NetworkInterface.1.SubnetId": other["subnetId"],
            "NetworkInterface.1.AssociatePublicIpAddress": "true",
        }
        self._ids = [cloud.launch(_TYPE), cloud.launch(_TYPE), cloud.launch(_TYPE, **there), cloud.launch(_TYPE)]
        for instance in self._ids:
            cloud.login(instance)
        for instance in self._ids[:2]:
            allocation = cloud.ask("AllocateAddress", {"Domain": "vpc"})["allocationId"]
            cloud.ask("AssociateAddress", {"AllocationId": allocation, "InstanceId": instance})
        self.logins = [cloud.login(instance) for instance in self._ids]
        self.public = [cloud.address(instance) for instance in self._ids]
        self.private = [
            cloud.ask("DescribeInstances", {"InstanceId.1": instance})["privateIpAddress"] for instance in self._ids
        ]
        self.iperf = [GuestProgram(login, "iperf3") for login in self.logins[:3]]
        for program in self.iperf:
            program.install()
            program.run("-s", "-D", "-p", str(_PORT))

    def allow(self, port: int) -> None:
        """Lets everybody in at a port of all guests."""
        self.cloud.ask("AuthorizeSecurityGroupIngress", {"GroupId": self._group, **_permission(1, port)})

    def give_rules(self) -> None:
        """Gives the guests 1,000 rules more, in four groups more each; none of them matches what is measured."""
        port = 20000
        for instance in self._ids:
            groups = [self._group]
            for part in range(_QUOTA - 1):
                named = {"GroupName": f"bench-{instance}-{part}", "GroupDescription": "rules", "VpcId": self._vpc}
                group = self.cloud.ask("CreateSecurityGroup", named)["groupId"]
                for direction, count in (("Ingress", 53), ("Egress", 10)):
                    permissions: dict[str, Any] = {}
                    for number in range(1, count + 1):
                        permissions |= _permission(number, port := port + 1)
                    self.cloud.ask(f"AuthorizeSecurityGroup{direction}", {"GroupId": group, **permissions})
                groups.append(group)
            wanted = {f"GroupId.{number}": group for number, group in enumerate(groups, 1)}
            self.cloud.ask("ModifyInstanceAttribute", {"InstanceId": instance, **wanted})


def _permission(number: int, port: int, protocol: str = "tcp") -> dict[str, Any]:
    name = f"IpPermissions.{number}"
    ports = {f"{name}.FromPort": port, f"{name}.ToPort": port}
    return {**ports, f"{name}.IpProtocol": protocol, f"{name}.IpRanges.1.CidrIp": "0.0.0.0/0"}


def measure() -> Iterator[Row]:
    """All rows of networks."""
    yield from network_driver.measure()
    cloud = RealPileus("tiny")
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-network-"))
        stack.enter_context(running(cloud))
        guests = _Guests(RealCloud(cloud, Path(directory)))
        options = "kvm" if cloud.accelerator == "kvm" else "tcg,thread=multi,tb-size=128"
        size: dict[str, Any] = {"memory": _MEMORY, "vcpus": _VCPUS, "accelerator": options}
        bare = stack.enter_context(BareGuest(cloud.image, **size))
        beside = stack.enter_context(BareGuest(cloud.image, beside=bare, **size))
        for guest in (bare, beside):
            guest.start()
            guest.wait_for_ssh(240)
        bare_iperf = [GuestProgram(guest.login(), "iperf3") for guest in (bare, beside)]
        for program in bare_iperf:
            program.install()
        bare_iperf[1].run("-s", "-D", "-p", str(_PORT))
        ways = {"one subnet": guests.private[1], "two subnets": guests.private[2], "Elastic IPs": guests.public[1]}
        peer = (bare_iperf[0], beside.address)
        for what, address in ways.items():
            yield _throughput(what, guests.iperf[0], address, peer)
            yield _latency(what, guests.logins[0], address, (bare.login(), beside.address))
        yield _first_packet(guests, "10 rules")
        guests.give_rules()
        yield _throughput("one subnet, 1,000 rules", guests.iperf[0], ways["one subnet"], peer)
        yield _latency("one subnet, 1,000 rules", guests.logins[0], ways["one subnet"], (bare.login(), beside.address))
        yield _first_packet(guests, "1,000 rules")


def _throughput(what: str, ours: GuestProgram, address: str, peer: tuple[GuestProgram, str]) -> Row:
    subjects = {OURS: _iperf(ours, address), _BARE: _iperf(*peer)}
    medians = in_turns(subjects, rounds=5, budget=90)
    return Row(what=f"iperf3, {what}", unit="Mbit/s", medians=medians, aim=Aim("at least", 0.95, _BARE))


def _iperf(program: GuestProgram, address: str) -> Callable[[], float]:
    def subject() -> float:
        told = json.loads(program.run("-c", address, "-p", str(_PORT), "-t", str(_SECONDS), "-J"))
        return told["end"]["sum_received"]["bits_per_second"] / 1e6

    return subject


def _latency(what: str, login: Sequence[str], address: str, peer: tuple[Sequence[str], str]) -> Row:
    subjects = {OURS: _ping(login, address), _BARE: _ping(*peer)}
    return Row(what=f"ping, {what}", unit="ms", medians=in_turns(subjects, rounds=5, budget=60))


def _ping(login: Sequence[str], address: str) -> Callable[[], float]:
    def subject() -> float:
        told = ssh(login, f"sudo ping -c 100 -i 0.01 {address}")
        return statistics.median(float(value) for value in _TIME.findall(told))

    return subject


def _first_packet(guests: _Guests, what: str) -> Row:
    """From the call that opens a port to the first connection through it, tried every millisecond from outside."""
    found: list[float] = []
    for port in range(_PROBED, _PROBED + 7):
        guests.iperf[1].run("-s", "-D", "-p", str(port + _offset(what)))
        found.append(_opened(guests, port + _offset(what)))
    return Row(
        what=f"Authorize to the first packet, {what}",
        unit="ms",
        medians={OURS: 1000 * statistics.median(found)},
        aim=Aim("at most", 50),
    )


def _offset(what: str) -> int:
    return 0 if what == "10 rules" else 100


def _opened(guests: _Guests, port: int) -> float:
    command = [*_PROBE, guests.public[1], str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as probe:
        assert probe.stdout is not None
        probe.stdout.readline()  # it tries already
        begin = time.monotonic()
        guests.allow(port)
        return float(probe.stdout.readline()) - begin


_PROBE = (sys.executable, "-m", "bench.probe")
