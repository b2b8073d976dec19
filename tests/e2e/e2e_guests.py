"""Instances as the tests handle them."""

from pathlib import Path
from typing import Any

from e2e_machine import Login, Machine, eventually


class Key:
    """A key pair as its owner has it."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path


class Guest:
    """An instance that a test launched."""

    def __init__(self, ec2: Any, instance_id: str, user: str, key: Key, machine: Machine | None = None) -> None:
        self._ec2 = ec2
        self._machine = machine
        self.id = instance_id
        self._user = user
        self._key = key

    def describe(self) -> Any:
        """What DescribeInstances says of it."""
        return self._ec2.describe_instances(InstanceIds=[self.id])["Reservations"][0]["Instances"][0]

    def state(self) -> str:
        """Its state's name."""
        return self.describe()["State"]["Name"]

    def until(self, state: str, seconds: float = 120.0) -> Any:
        """Waits for a state and describes it."""
        eventually(lambda: self.state() == state, seconds)
        return self.describe()

    def console(self) -> str:
        """The end of what it said on its console so far."""
        return self._ec2.get_console_output(InstanceId=self.id, Latest=True).get("Output", "")

    def login(self, address: str | None = None) -> Login:
        """A login that works already, at its public address or another one."""
        return Login(self._user, address or self.describe()["PublicIpAddress"], self._key.path).wait(
            explain=self.explain
        )

    def explain(self) -> str:
        """What may tell why it can't be reached: its console, and what its host knows of it."""
        console = self._ec2.get_console_output(InstanceId=self.id, Latest=True).get("Output", "")[-3000:]
        told = [f"{self.id} is {self.state()}", f"--- its console\n{console}"]
        if self._machine is not None:
            told.append(self._machine.traces(self.id))
        return "\n".join(told)


class Launcher:
    """Launches instances and terminates them at the end of the test."""

    def __init__(self, ec2: Any, images: dict[str, str], key: Key, group: str, machine: Machine | None = None) -> None:
        self._ec2 = ec2
        self._machine = machine
        self._images = images
        self._key = key
        self._group = group
        self.launched: list[Guest] = []

    def __call__(self, family: str = "tiny", count: int = 1, **parameters: Any) -> list[Guest]:
        request: dict[str, Any] = {
            "ImageId": self._images[family],
            "InstanceType": "t3.nano" if family == "tiny" else "t3.small",
            "KeyName": self._key.name,
            "MinCount": count,
            "MaxCount": count,
            **parameters,
        }
        if "NetworkInterfaces" not in parameters:
            request.setdefault("SecurityGroupIds", [self._group])
        return self.adopt(self._ec2.run_instances(**request), family)

    def adopt(self, answer: Any, family: str = "tiny", key: Key | None = None) -> list[Guest]:
        """The guests of a RunInstances that somebody made, from its answer."""
        user = {"tiny": "ec2-user", "debian-12": "admin"}[family]
        ids = [one["InstanceId"] for one in answer["Instances"]]
        guests = [Guest(self._ec2, one, user, key or self._key, self._machine) for one in ids]
        self.launched += guests
        return guests

    def clean(self) -> None:
        """Terminates what was launched and waits until it is gone."""
        ids = [guest.id for guest in self.launched]
        if ids:
            self._ec2.terminate_instances(InstanceIds=ids)
            for guest in self.launched:
                guest.until("terminated")
