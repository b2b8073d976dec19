"""A storm over real guests: owners launch, stop, start, reboot and terminate while api, controller and agent are killed.

Afterwards the records fit what was promised, the host fits the records, and a cloud taken down leaves nothing.
"""

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import botocore.exceptions
import pytest
from botocore.config import Config as ClientConfig
from botocore.parsers import ResponseParserError
from e2e_guests import Guest, Key
from e2e_host import Host, surroundings
from e2e_machine import Machine, eventually, own_network

from pileus.cmd.cloud import supervisor_pid
from pileus.drivers.network.linux.names import tap_name
from pileus.records import Instance, NetworkInterface, Volume
from pileus.store import Store, View
from pileus.testing.consistency import problems, unsettled

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

T = TypeVar("T")
SECONDS = 60.0
OWNERS = 4
UIDS = range(740_000, 740_100)
SETTINGS = f"""
guest_uids = [{UIDS[0]}, {UIDS[-1]}]
[[regions]]
name = "us-east-1"
zones = ["a"]
public_pool = ["198.51.100.0/26"]
"""
# What a client sees of a server that dies under its request: the outcome is unknown.
LOST = (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError, ResponseParserError)


@pytest.fixture
def seed() -> int:
    """Printed when the test fails; to repeat a storm, return it here (the machine's timing stays its own)."""
    chosen = random.SystemRandom().randrange(1 << 32)
    print("seed", chosen)
    return chosen


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    """A cloud of the test's own, with a network and user ids that no other one has."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with own_network(), tempfile.TemporaryDirectory(prefix="ps", dir="/tmp") as directory:
        one = Machine(Path(directory) / "d", port=4577)
        one.prepare(("tiny",))
        with (one.root / "config.toml").open("a") as file:
            file.write(SETTINGS)
        try:
            yield one
        finally:
            one.destroy()


class Owner:
    """Somebody with at most one instance at a time, who knows what was acknowledged to them.

    Attributes:
        wishes: by instance, the state that the last acknowledged call leads to.
        starts: by instance, how many acknowledged calls started it.
    """

    def __init__(self, client: Any, launch: dict[str, Any], seed: int) -> None:
        self._client = client
        self._launch = launch
        self._random = random.Random(seed)
        self._current: str | None = None
        self.wishes: dict[str, str] = {}
        self.starts: dict[str, int] = {}

    def act_until(self, deadline: float) -> None:
        """Does one thing after another."""
        while time.monotonic() < deadline:
            self._act()
            time.sleep(self._random.choice((0.0, 0.5, 2.0, 6.0)))

    def _act(self) -> None:
        one = self._current
        if one is None:
            token = str(uuid.UUID(int=self._random.getrandbits(128)))
            answer = self._insist(lambda: self._client.run_instances(**self._launch, ClientToken=token))
            self._current = one = str(answer["Instances"][0]["InstanceId"])
            self.wishes[one], self.starts[one] = "running", 0
            return
        action = self._random.choice(("stop", "stop", "start", "start", "start", "reboot", "terminate"))
        force = self._random.random() < 0.3
        try:
            match action:
                case "stop":
                    self._insist(lambda: self._client.stop_instances(InstanceIds=[one], Force=force))
                    self.wishes[one] = "stopped"
                case "start":
                    answer = self._insist(lambda: self._client.start_instances(InstanceIds=[one]))
                    self.starts[one] += answer["StartingInstances"][0]["PreviousState"]["Name"] == "stopped"
                    self.wishes[one] = "running"
                case "reboot":
                    self._insist(lambda: self._client.reboot_instances(InstanceIds=[one]))
                case _:
                    self._insist(lambda: self._client.terminate_instances(InstanceIds=[one], Force=force))
                    self.wishes[one], self._current = "terminated", None
        except botocore.exceptions.ClientError as refusal:
            assert "(IncorrectInstanceState)" in str(refusal), refusal

    def _insist(self, call: Callable[[], T]) -> T:
        """Calls until somebody answers; no call may be answered with a fault."""
        while True:
            try:
                return call()
            except LOST:
                pass
            except botocore.exceptions.ClientError as refusal:
                # Only the status came, no code: killed between the answer's head and its body.
                if not refusal.response["Error"]["Code"].isdecimal():
                    raise
            time.sleep(0.1)


def kill_at_random(host: Host, chance: random.Random, stop: threading.Event) -> list[str]:
    """Kills one of the processes, or all of them, every few moments. Returns whom it killed."""
    killed: list[str] = []
    while not stop.wait(chance.uniform(0.5, 5.0)):
        running = host.control_plane()
        for name in chance.choice((["api"], ["controller"], ["agent"], ["agent"], ["api", "controller", "agent"])):
            if name in running:
                os.kill(running[name].pid, signal.SIGKILL)
                killed.append(name)
    return killed


def client(machine: Machine) -> Any:
    """A client that never tries again by itself and soon gives up waiting."""
    import boto3

    told = machine.environment()
    return boto3.client(
        "ec2",
        endpoint_url=told["AWS_ENDPOINT_URL"],
        region_name=told["AWS_DEFAULT_REGION"],
        aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
        config=ClientConfig(retries={"total_max_attempts": 1}, read_timeout=20),
    )


def key_pair(ec2: Any, directory: Path) -> Key:
    path = directory / "storm.pem"
    path.touch(mode=0o600)
    path.write_text(ec2.create_key_pair(KeyName="storm", KeyType="ed25519")["KeyMaterial"])
    return Key("storm", path)


def on_the_way(view: View) -> list[str]:
    """What is not as it shall be yet, reboots included."""
    running = [one for one in view.list(Instance) if one.state == "running"]
    resetting = [f"{one.id} is being reset" for one in running if not one.observed or one.observed.reset != one.reset]
    return [*unsettled(view), *resetting]


def settle(machine: Machine, store: Store) -> None:
    """Waits until nothing is on its way any more; tells what is, and the logs, when that does not come to be."""
    deadline = time.monotonic() + 300
    while left := on_the_way(store.view()):
        assert time.monotonic() < deadline, "\n".join([*left, machine.logs()])
        time.sleep(0.2)


def wanted(view: View) -> dict[str, Any]:
    """What must be on the host, by the records."""
    instances = view.list(Instance)
    running = {one.id for one in instances if one.state == "running"}
    interfaces = [one for one in view.list(NetworkInterface) if one.instance_id in running]
    taps = sorted(tap_name(one.id) for one in interfaces)
    return {
        "guests": dict.fromkeys(running, 1),
        "users": len(running),
        "strays": set(),
        "volumes": {volume.id for volume in view.list(Volume)},
        "taps": taps,
        "bindings": taps,
        "leases": sorted(one.private_address for one in interfaces),
        "dnsmasqs": sorted({one.vpc_id for one in interfaces}),
    }


def found(host: Host, view: View) -> dict[str, Any]:
    """The same, as it is."""
    guests = host.guests()
    ended = {one.id for one in view.list(Instance) if one.state == "terminated"}
    others = {one.id for one in view.list(Instance)} - ended
    return {
        "guests": {name: len(processes) for name, processes in guests.items()},
        "users": len({process.uid for processes in guests.values() for process in processes}),
        "strays": (host.homes() - others) | host.limited(ended),
        "volumes": host.volumes(),
        "taps": sorted(host.taps().elements()),
        "bindings": host.bindings(),
        "leases": host.leases(),
        "dnsmasqs": host.dnsmasqs(),
    }


def check_host(host: Host, view: View) -> None:
    """The host has what the records say, once each, and nothing else. Its network follows the records by a moment."""
    deadline = time.monotonic() + 60
    while True:
        try:
            seen = found(host, view)
        except (FileNotFoundError, subprocess.CalledProcessError):
            seen = None  # the namespace of a VPC went while it was looked at
        if seen == wanted(view) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert seen == wanted(view)


def test_nothing_is_lost_or_leaked(machine: Machine, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    before = surroundings()
    machine.start()
    host = Host(machine, UIDS)
    ec2 = client(machine)
    key = key_pair(ec2, tmp_path)
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
    image = next(one for one in ec2.describe_images(Owners=["amazon"])["Images"] if "tiny" in one["Name"])
    launch = {"ImageId": image["ImageId"], "InstanceType": "t3.nano", "KeyName": key.name, "MinCount": 1, "MaxCount": 1}

    # Somebody who does nothing but stay logged in, through all of it.
    bystander = Guest(ec2, ec2.run_instances(**launch)["Instances"][0]["InstanceId"], "ec2-user", key)
    bystander.until("running")
    login = bystander.login()
    boot_id = login.run("cat /proc/sys/kernel/random/boot_id")
    patient = [login.argv[0], "-o", "ServerAliveInterval=0", *login.argv[1:], "cat"]
    session = subprocess.Popen(patient, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert session.stdin is not None and session.stdout is not None

    owners = [Owner(client(machine), launch, chance.getrandbits(32)) for _ in range(OWNERS)]
    stop = threading.Event()
    with ThreadPoolExecutor(OWNERS + 1) as pool:
        deadline = time.monotonic() + SECONDS
        reaper = pool.submit(kill_at_random, host, random.Random(chance.getrandbits(32)), stop)
        work = [pool.submit(owner.act_until, deadline) for owner in owners]
        try:
            for each in work:
                each.result()
        finally:
            stop.set()
        assert set(reaper.result()) == {"api", "controller", "agent"}
    # At last the supervisor, which takes the others along.
    supervisor = supervisor_pid(host.layout)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: supervisor_pid(host.layout) is None)
    machine.start()

    wishes = {bystander.id: "running"}
    for owner in owners:
        wishes |= owner.wishes
    print({state: list(wishes.values()).count(state) for state in ("running", "stopped", "terminated")})
    with host.store() as store:
        settle(machine, store)
        assert problems(store.view(), host.layout.load_config()) == []
        assert {one.id: str(one.state) for one in store.view().list(Instance)} == wishes
        boots = {one.id: one.boot for one in store.view().list(Instance)}
        assert all(boots[one] > starts for owner in owners for one, starts in owner.starts.items())
        check_host(host, store.view())
        session.stdin.write("still here\n")
        session.stdin.flush()
        assert session.stdout.readline() == "still here\n"
        assert login.run("cat /proc/sys/kernel/random/boot_id") == boot_id
        for instance_id in (one for one, state in wishes.items() if state == "running"):
            Guest(ec2, instance_id, "ec2-user", key).login()

        session.kill()
        session.wait()
        ec2.terminate_instances(InstanceIds=list(wishes))
        settle(machine, store)
        check_host(host, store.view())
        assert not host.volumes()
    machine.pileus("down", "--destroy")
    assert host.processes() == []
    assert host.namespaces() == []
    assert not Path(f"/run/pileus/{host.name}").exists()
    assert {path.name for path in machine.root.iterdir()} == {"config.toml", "images"}
    assert {path.name for path in tmp_path.iterdir()} == {"storm.pem"}
    assert surroundings() == before
