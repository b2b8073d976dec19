"""Pileus and its peers as servers: how each is started, asked and stopped, and how much memory it takes."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from bench.wire import REGION, Connection, Endpoint, Refused
from pileus.cmd.cloud import supervisor_pid
from pileus.cmd.layout import Credentials, Layout

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers"
_PATIENCE = 60.0
_INSTANCES_PER_HOST = 124
"""t3.nano, which have half a GiB and two vCPUs."""

_TOGETHER = 10
"""Instances in one reservation of those that are there before a measurement."""

_IMAGE_ID = re.compile(rb"<imageId>(ami-[0-9a-f]+)</imageId>")
_INSTANCE_ID = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>")


class Server(Protocol):
    """A server of the EC2 API on a port of its own. Starting and stopping are the caller's matter."""

    name: str

    @property
    def endpoint(self) -> Endpoint:
        """Where it answers, once it has been started."""
        ...

    @property
    def control_plane(self) -> Sequence[int]:
        """The processes that do what all the servers do."""
        ...

    def start(self) -> float:
        """Starts it, and returns the seconds until it answered DescribeInstances."""
        ...

    def stop(self) -> None:
        """Stops it and removes what it wrote."""
        ...


class Pileus:
    """The simulated cloud as ``pileus up --simulate`` starts it: signatures verified, every commit synced to the disk."""

    name = "pileus"
    _up: Sequence[str] = ("up", "--simulate")
    _down: Sequence[str] = ("down",)

    def __init__(self, *, room: int = 1000) -> None:
        """``room`` is for how many instances its simulated hosts shall suffice."""
        # Not /tmp, which may be memory: commits shall go to a disk.
        self._directory = Path(tempfile.mkdtemp(prefix="pileus-bench-", dir="/var/tmp"))
        self._layout = Layout(self._directory)
        self._port = _free_port()
        hosts = -(-room // _INSTANCES_PER_HOST) + 1
        self._layout.config_file.write_text(
            f'simulated_hosts = {hosts}\n[[regions]]\nname = "us-east-1"\npublic_pool = ["100.64.0.0/15"]\n'
        )

    @property
    def endpoint(self) -> Endpoint:
        keys = msgspec.json.decode(self._layout.credentials.read_bytes(), type=Credentials)
        return Endpoint(self._port, keys.access_key, keys.secret_key)

    @property
    def control_plane(self) -> Sequence[int]:
        """The supervisor and its children, but for the hosts' agents, which stand in for other machines."""
        supervisor = supervisor_pid(self._layout)
        assert supervisor is not None
        return [pid for pid in _with_descendants(supervisor) if b"agent" not in _arguments(pid)]

    def start(self) -> float:
        begin = time.perf_counter()
        command = subprocess.Popen(self._command(*self._up), stdout=subprocess.DEVNULL)
        _until_it_answers(self)
        seconds = time.perf_counter() - begin
        if command.wait() != 0:
            raise RuntimeError("pileus up failed")
        return seconds

    def halt(self) -> None:
        """Stops it, and keeps what it wrote for another start."""
        subprocess.run(self._command(*self._down), check=True, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self._directory)

    def _command(self, *words: str) -> list[str]:
        place = ("--data-dir", str(self._directory), "--port", str(self._port))
        return [sys.executable, "-m", "pileus.cmd.main", *place, *words]


class RealPileus(Pileus):
    """The cloud with real guests, of one family of images, as ``pileus up`` starts it."""

    _up = ("up",)
    _down = ("down", "--destroy")

    def __init__(self, family: str) -> None:
        super().__init__()
        subprocess.run(self._command("ami", "build", family), check=True, stdout=subprocess.DEVNULL)

    @property
    def accelerator(self) -> str:
        """What its guests run on: ``kvm`` or ``tcg``. Known once an instance has run."""
        return json.loads(self._layout.accelerator_file.read_text())["accelerator"]

    @property
    def blocks(self) -> Path:
        """Where the blocks of its snapshots are."""
        return self._layout.control / "blocks"

    @property
    def image(self) -> Path:
        """The directory of its only image."""
        return next(file.parent for file in self._layout.images.glob("*/image.json"))


class _Peer(ABC):
    """A peer that is one command with options in its environment. It verifies nothing, so any key will do."""

    name: str

    def __init__(self) -> None:
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self._port, "AKIABENCHBENCHBENCH0", "bench")

    @property
    def control_plane(self) -> Sequence[int]:
        assert self._process is not None
        return _with_descendants(self._process.pid)

    def start(self) -> float:
        begin = time.perf_counter()
        quiet = subprocess.DEVNULL
        environment = {**os.environ, **self._environment()}
        self._process = subprocess.Popen(self._argv(), env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
        _until_it_answers(self)
        return time.perf_counter() - begin

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @abstractmethod
    def _argv(self) -> list[str]:
        """The command that serves in the foreground."""

    def _environment(self) -> dict[str, str]:
        return {}


class Ministack(_Peer):
    """ministack, from an environment of its own."""

    name = "ministack"

    def _argv(self) -> list[str]:
        return [str(PEERS / "bin/ministack")]

    def _environment(self) -> dict[str, str]:
        return {"GATEWAY_PORT": str(self._port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"}


class Moto(_Peer):
    """moto_server."""

    name = "moto"

    def _argv(self) -> list[str]:
        return [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(self._port)]


def install_peers() -> None:
    """Makes the peers' environment where it is missing. Needs the package registry."""
    lock = (ROOT / "requirements-peers.lock").read_text()
    installed = PEERS / "installed"
    if installed.exists() and installed.read_text() == lock:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
    pip = [str(PEERS / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements-peers.lock")], check=True)
    installed.write_text(lock)


@contextmanager
def running(*servers: Server) -> Generator[None]:
    """Starts servers, and stops them however the block ends."""
    started: list[Server] = []
    try:
        for server in servers:
            started.append(server)
            server.start()
        yield
    finally:
        for server in started:
            server.stop()


class Launcher:
    """Launches instances of the smallest type on a server."""

    def __init__(self, server: Server) -> None:
        self.endpoint = server.endpoint
        self._connection = Connection(self.endpoint)
        images = _IMAGE_ID.search(self.call("DescribeImages", {"Owner.1": "amazon"}))
        assert images is not None, f"{server.name} has no image"
        self.image = images[1].decode()

    def call(self, operation: str, parameters: Mapping[str, str | int] | None = None) -> bytes:
        """One call, whose answer is returned as it came."""
        return self._connection.call(self.endpoint.request(operation, parameters))

    def hang_up(self) -> None:
        """Closes the connection, which the next call opens again: the server ends those that are silent for a minute."""
        self._connection.close()

    def request(self, count: int = 1, zone: str = "a") -> bytes:
        """A call that launches so many instances in one reservation."""
        wanted = {"ImageId": self.image, "InstanceType": "t3.nano", "MinCount": count, "MaxCount": count}
        return self.endpoint.request("RunInstances", {**wanted, "Placement.AvailabilityZone": f"{REGION}{zone}"})

    def launch(self, count: int) -> list[str]:
        """Launches so many instances, in reservations of ten, and returns their ids.

        In turns in three zones, whose default subnets have some 4,000 addresses each. Waits for room, which there is once
        the hosts are there.
        """
        zones = itertools.cycle("abc")
        zone = next(zones)
        deadline = time.monotonic() + _PATIENCE
        ids: list[str] = []
        while len(ids) < count:
            try:
                ids += instance_ids(self._connection.call(self.request(min(_TOGETHER, count - len(ids)), zone)))
                zone = next(zones)
            except Refused as refused:
                if "InsufficientInstanceCapacity" not in str(refused) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        return ids


def instance_ids(answer: bytes) -> list[str]:
    """The ids of the instances in an answer."""
    return [found.decode() for found in dict.fromkeys(_INSTANCE_ID.findall(answer))]


def proportional_set_size(pids: Sequence[int]) -> float:
    """The memory of some processes in MB, pages that several share counted once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1000


def _with_descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [
        pid,
        *(found for file in children for child in file.read_text().split() for found in _with_descendants(int(child))),
    ]


def _arguments(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            Connection(server.endpoint).call(server.endpoint.request("DescribeInstances"))
        except (OSError, msgspec.DecodeError, Refused):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{server.name} did not answer in {_PATIENCE:.0f} s") from None
            time.sleep(0.005)
        else:
            return
