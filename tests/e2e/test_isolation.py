"""What a guest can't do to the others, to the host and to the cloud, tried by root inside of real guests; what a QEMU and
the control plane can't do when they are taken over; what nobody finds in files and logs."""

import base64
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_guests import Guest, Key, Launcher
from e2e_host import Host, Process, processes
from e2e_machine import Login, Machine

from pileus.cmd.privileges import CONTROL_UID
from pileus.drivers.hypervisor.qemu.cgroup import Cgroups

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

METADATA = "169.254.169.254"
HOST = "203.0.113.1"
# The edge, the resolvers, the metadata service, and what links them.
CLOUD = ("203.0.113.2", "169.254.0.1", METADATA, "169.254.169.253", "198.18.0.1")
SECRET = "the-owners-own-secret"
NO_CAPABILITIES = ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")


class Inside:
    """A guest from its own inside, as root."""

    def __init__(self, guest: Guest, login: Login) -> None:
        self.guest = guest
        self.login = login
        self.address: str = guest.describe()["PrivateIpAddress"]
        self.gateway = self.run("ip route show default").split()[2]
        self.mac = self.run("cat /sys/class/net/eth0/address")

    def run(self, script: str) -> str:
        """What a shell script prints; it must succeed."""
        return self.login.run(f"sudo sh -c {quoted(script)}")

    def works(self, script: str) -> bool:
        """Whether a shell script succeeds."""
        return self.login.try_run(f"sudo sh -c {quoted(script)}").returncode == 0

    def pings(self, address: str, options: str = "") -> bool:
        """Whether echo requests are answered."""
        return self.works(f"ping -q -c 1 -W 2 {options} {address}")

    def pinged(self) -> int:
        """How many echo requests have arrived here."""
        names, values = self.run("grep ^Icmp: /proc/net/snmp").splitlines()
        return int(values.split()[names.split().index("InEchos")])


def quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"


def token_request(*headers: str) -> str:
    """A script that asks for a metadata token and prints the whole answer."""
    lines = ("PUT /latest/api/token HTTP/1.0", "X-aws-ec2-metadata-token-ttl-seconds: 60", *headers, "", "")
    request = r"\r\n".join(lines)
    return f"(printf '{request}'; sleep 1) | nc -w 2 {METADATA} 80"  # nc ends with its input, so that stays open


@pytest.fixture(scope="module")
def host(machine: Machine) -> Host:
    """The cloud's traces on the machine."""
    first, last = Host.default_uids()
    return Host(machine, range(first, last + 1))


@pytest.fixture(scope="module")
def pair(ec2: Any, images: dict[str, str], key: Key) -> Iterator[tuple[Inside, Inside]]:
    """Two guests in one subnet that let everything in, so that no group is what stops the first from reaching the second."""
    group = ec2.create_security_group(GroupName="e2e-open", Description="everything")["GroupId"]
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[everything])
    launcher = Launcher(ec2, images, key, group)
    guests = launcher("tiny", 2, UserData=f"#!/bin/sh\necho {SECRET}\n")
    for guest in guests:
        guest.until("running")
    first, second = (Inside(guest, guest.login()) for guest in guests)
    yield first, second
    launcher.clean()
    ec2.delete_security_group(GroupId=group)


def test_nobody_passes_as_another(pair: tuple[Inside, Inside]) -> None:
    liar, victim = pair
    before = victim.pinged()
    assert liar.pings(victim.address)
    heard = victim.pinged()
    assert heard > before
    # An address of nobody in the subnet, and one from elsewhere.
    for forged in (liar.address.rpartition(".")[0] + ".250", "192.0.2.7"):
        liar.run(f"ip addr add {forged}/32 dev eth0")
        assert not liar.pings(victim.address, f"-I {forged}")
        liar.run(f"ip addr del {forged}/32 dev eth0")
    # The neighbour's MAC, and one of nobody. What is sent meanwhile is lost, this session's own packets included.
    for mac in (victim.mac, "02:00:00:00:00:99"):
        lie = f"ip link set eth0 address {mac}; ping -q -c 1 -W 2 {victim.address}; echo $? >/tmp/lied"
        liar.run(f"{lie}; ip link set eth0 address {liar.mac}")
        assert liar.run("cat /tmp/lied") == "1"
    assert victim.pinged() == heard
    assert liar.pings(victim.address)


def test_nobody_is_believed_to_have_anothers_address(pair: tuple[Inside, Inside]) -> None:
    liar, victim = pair
    boot_id = victim.run("cat /proc/sys/kernel/random/boot_id")
    liar.run(f"ip addr add {victim.address}/32 dev eth0")
    # busybox waits for answers to what it announces; there are none, so it can't succeed.
    liar.works(f"arping -U -c 2 -w 2 -I eth0 {victim.address}")
    assert not liar.works(f"arping -f -c 2 -w 2 -I eth0 -s {victim.address} {liar.gateway}")
    liar.run(f"ip addr del {victim.address}/32 dev eth0")
    assert victim.run("cat /proc/sys/kernel/random/boot_id") == boot_id
    assert liar.works(f"arping -f -c 2 -w 2 -I eth0 {liar.gateway}")
    # Whomever one asks for, it is the router that answers.
    assert liar.pings(victim.address)
    router = liar.run(f"ip neigh show {liar.gateway}").split()[4]
    assert liar.run("ip neigh show | awk '{print $5}' | sort -u") == router


def test_metadata_is_ones_own(pair: tuple[Inside, Inside]) -> None:
    liar, victim = pair
    url = f"http://{METADATA}/latest/meta-data/instance-id"
    assert liar.run(f"wget -q -O - {url}") == liar.guest.id
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Host"):
        assert liar.run(f"wget -q -O - --header '{header}: {victim.address}' {url}") == liar.guest.id
    token = victim.run(token_request()).splitlines()[-1]
    assert victim.run(f"wget -q -O - --header 'X-aws-ec2-metadata-token: {token}' {url}") == victim.guest.id
    assert "401" in liar.login.try_run(f"wget -O - --header 'X-aws-ec2-metadata-token: {token}' {url}").stderr
    assert " 403 " in liar.run(token_request(f"X-Forwarded-For: {victim.address}")).splitlines()[0]
    # As the other one's source address.
    route = f"{METADATA}/32 via {liar.gateway} dev eth0"
    liar.run(f"ip addr add {victim.address}/32 dev eth0; ip route add {route} src {victim.address}")
    assert not liar.works(f"wget -q -T 2 -O - {url}")
    liar.run(f"ip route del {route}; ip addr del {victim.address}/32 dev eth0")
    assert liar.run(f"wget -q -O - {url}") == liar.guest.id


def test_metadata_is_denied_when_it_is_off(pair: tuple[Inside, Inside], ec2: Any) -> None:
    guest, _ = pair
    get = f"wget -q -O - http://{METADATA}/latest/meta-data/instance-id"
    ec2.modify_instance_metadata_options(InstanceId=guest.guest.id, HttpEndpoint="disabled")
    assert guest.works(f"for n in $(seq 50); do {get} || exit 0; sleep 0.2; done; exit 1")
    assert " 403 " in guest.run(token_request()).splitlines()[0]
    ec2.modify_instance_metadata_options(InstanceId=guest.guest.id, HttpEndpoint="enabled", HttpTokens="required")
    assert guest.works("for n in $(seq 50); do ec2-metadata meta-data/instance-id && exit 0; sleep 0.2; done; exit 1")
    assert "401" in guest.login.try_run(get.replace("-q ", "")).stderr
    ec2.modify_instance_metadata_options(InstanceId=guest.guest.id, HttpTokens="optional")


@pytest.mark.parametrize("hop_limit", [1, 3])
def test_a_token_travels_no_further_than_allowed(
    pair: tuple[Inside, Inside], ec2: Any, host: Host, hop_limit: int
) -> None:
    guest, _ = pair
    ec2.modify_instance_metadata_options(InstanceId=guest.guest.id, HttpPutResponseHopLimit=hop_limit)
    (namespace,) = [name for name in host.namespaces() if name.endswith(guest.guest.describe()["VpcId"])]
    argv = ["ip", "netns", "exec", namespace, "tcpdump", "-n", "-v", "-l", "-i", "any"]
    seen = [*argv, f"src host {METADATA} and dst host {guest.address} and tcp[tcpflags] & tcp-push != 0"]
    with subprocess.Popen(seen, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listener:
        assert listener.stderr is not None and "listening" in listener.stderr.readline() + listener.stderr.readline()
        assert guest.run("ec2-metadata meta-data/instance-id") == guest.guest.id
        assert listener.stdout is not None
        first = listener.stdout.readline()
        listener.terminate()
    assert f"ttl {hop_limit}," in first


def test_neither_host_nor_cloud_is_reached(pair: tuple[Inside, Inside], machine: Machine) -> None:
    guest, other = pair
    resolver = guest.gateway.rpartition(".")[0] + ".2"
    with socket.create_server(("0.0.0.0", 7000)) as everywhere:
        socket.create_connection((HOST, 7000), timeout=5).close()
        everywhere.accept()[0].close()
        tries = [
            f"(nc -w 2 {address} {port} </dev/null >/dev/null && echo {address}:{port}) &"
            for address in (other.address, HOST, *CLOUD, guest.gateway, resolver)
            for port in (22, 7000, machine.port)
        ]
        assert guest.run(f"{' '.join(tries)} wait") == f"{other.address}:22"
        pings = [
            f"(ping -q -c 1 -W 2 {to} >/dev/null && echo {to}) &" for to in (HOST, *CLOUD, guest.gateway, resolver)
        ]
        assert guest.run(f"{' '.join(pings)} wait") == ""
        everywhere.settimeout(0.1)
        with pytest.raises(TimeoutError):
            everywhere.accept()


def test_a_qemu_that_is_taken_over_has_nothing(pair: tuple[Inside, Inside], host: Host) -> None:
    guests = host.guests()
    found = [guests[one.guest.id] for one in pair]
    assert [len(each) for each in found] == [1, 1]
    for one, (process,) in zip(pair, found, strict=True):
        assert process.status["Seccomp"] == "2"
        confined(process)
        for directory in Cgroups().directories(one.guest.id):
            assert str(process.pid) in (directory / "cgroup.procs").read_text().split()
        volumes = {device["Ebs"]["VolumeId"] for device in one.guest.describe()["BlockDeviceMappings"]}
        own = {host.layout.root / "volumes" / volume for volume in volumes}
        own |= {host.layout.images, host.layout.root / "guests" / one.guest.id}
        files = [path for link in Path(f"/proc/{process.pid}/fd").iterdir() if (path := link.readlink()).is_absolute()]
        inside = [path for path in files if path.is_relative_to(host.layout.root)]
        assert inside
        assert all(any(path.is_relative_to(place) for place in own) for path in inside), inside
        assert {str(path) for path in files} - {str(path) for path in inside} <= {"/dev/null", "/dev/net/tun"}
    assert len({process.uid for (process,) in found}) == 2


def test_the_control_plane_has_no_privileges(host: Host) -> None:
    control = host.control_plane()
    assert set(control) == {"api", "controller", "storage", "agent"}
    for name in ("api", "controller", "storage"):
        assert set(control[name].status["Uid"].split()) == {str(CONTROL_UID)}
        confined(control[name])


def confined(process: Process) -> None:
    """The process has no rights, and no way to get any."""
    assert process.status["NoNewPrivs"] == "1"
    assert process.status["Groups"] == ""
    assert not any(int(process.status[name], 16) for name in NO_CAPABILITIES)


def test_files_are_for_those_who_need_them(pair: tuple[Inside, Inside], host: Host) -> None:
    ((guest,),) = [host.guests()[one.guest.id] for one in pair[:1]]
    above = host.layout.root.parent
    mode = above.stat().st_mode & 0o777
    above.chmod(0o755)  # else it alone would hide everything
    try:
        for_everybody = {"", "config.toml", "identity.json", "images", "logs"}
        assert reachable(host, guest.uid, "-readable") <= for_everybody
        assert reachable(host, CONTROL_UID, "-readable") <= for_everybody | {"control"}
        assert reachable(host, guest.uid, "-writable") == set()
        assert reachable(host, CONTROL_UID, "-writable") == {"control"}
    finally:
        above.chmod(mode)


def reachable(host: Host, uid: int, how: str) -> set[str]:
    """The entries of the data directory in which a user may read or write something."""
    root = host.layout.root
    argv = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "find", str(root), how, "!", "-type", "l"]
    found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    return {"".join(Path(path).relative_to(root).parts[:1]) for path in found}


def test_secrets_are_neither_logged_nor_shown(
    pair: tuple[Inside, Inside], machine: Machine, host: Host, key: Key
) -> None:
    told = machine.environment()
    body = key.path.read_text().splitlines()[1]
    encoded = base64.b64encode(f"#!/bin/sh\necho {SECRET}\n".encode()).decode()
    secrets = (told["AWS_SECRET_ACCESS_KEY"], SECRET, encoded, body)
    logs = "".join(path.read_text() for path in host.layout.logs.iterdir())
    assert pair[0].guest.id in logs
    shown = "".join(" ".join(process.argv) for process in processes())
    assert not [secret for secret in secrets if secret in logs or secret in shown]
