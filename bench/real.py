"""A cloud with real guests, and how measurements speak to it: calls as bytes, and SSH."""

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.boot import open_ssh
from bench.servers import Launcher, RealPileus
from bench.wire import REGION, Refused

_FIELDS = re.compile(r"<(\w+)>([^<]*)</")


class RealCloud:
    """A running cloud of the tiny image, in which SSH is open. ``directory``: for the key."""

    def __init__(self, cloud: RealPileus, directory: Path) -> None:
        self.cloud = cloud
        self.launcher = Launcher(cloud)
        self._key = directory / "key"
        open_ssh(self.launcher)
        self._key.touch(mode=0o600)
        self._key.write_text(self.ask("CreateKeyPair", {"KeyName": "bench", "KeyType": "ed25519"})["keyMaterial"])

    def launch(self, type_: str, **parameters: Any) -> str:
        """Launches an instance in the region's first zone, once the cloud's host is there."""
        wanted = {"ImageId": self.launcher.image, "InstanceType": type_, "MinCount": 1, "MaxCount": 1}
        if not any(name.startswith(("SubnetId", "NetworkInterface")) for name in parameters):
            wanted["Placement.AvailabilityZone"] = f"{REGION}a"
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.ask("RunInstances", {**wanted, "KeyName": "bench", **parameters})["instanceId"]
            except Refused as refused:
                if "InsufficientInstanceCapacity" not in str(refused) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def address(self, instance: str) -> str:
        """An instance's public address, once it has one."""
        while not (address := self.ask("DescribeInstances", {"InstanceId.1": instance}).get("ipAddress")):
            time.sleep(0.1)
        return address

    def login(self, instance: str) -> list[str]:
        """The command that logs in to an instance, up to what is to be run there; it works already."""
        words = [
            "ssh", "-i", str(self._key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
            f"ec2-user@{self.address(instance)}",
        ]  # fmt: skip
        ssh(words, "true", patience=60)
        return words

    def ask(self, operation: str, parameters: dict[str, Any] | None = None) -> dict[str, str]:
        """A call; the answer's plain members by name, the first of several."""
        answer = self.launcher.call(operation, parameters).decode()
        self.launcher.hang_up()
        found: dict[str, str] = {}
        for name, value in _FIELDS.findall(answer):
            found.setdefault(name, value)
        return found

    def until(self, operation: str, parameters: dict[str, Any], member: str, value: str) -> None:
        """Asks until a member of the answer has a value."""
        deadline = time.monotonic() + 600
        while (said := self.ask(operation, parameters).get(member)) != value:
            if time.monotonic() > deadline or said == "error":
                raise TimeoutError(f"{operation}: {member} is {said}, not {value}")
            time.sleep(0.05)


def ssh(login: Sequence[str], command: str, *, patience: float = 0.0) -> str:
    deadline = time.monotonic() + patience
    while True:
        done = subprocess.run([*login, command], capture_output=True, text=True, check=False, timeout=300)
        if done.returncode == 0:
            return done.stdout.strip()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{command}: {done.stderr}")
        time.sleep(0.2)
