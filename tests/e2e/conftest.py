"""One cloud for all tests of a session; what they launch, they terminate."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_guests import Key, Launcher
from e2e_machine import Machine, own_network

sys.path.append(str(Path(__file__).parent.parent / "conformance"))  # fio in guests is the drivers' tests' as well


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A running cloud with both images. The whole test thread is inside its network from here on."""
    # Below /tmp and short: paths of unix sockets have 107 characters.
    with own_network(), tempfile.TemporaryDirectory(prefix="pe", dir="/tmp") as directory:
        one = Machine(Path(directory) / "d")
        one.prepare()
        try:
            one.start()
            yield one
        finally:
            one.destroy()


@pytest.fixture(scope="session")
def ec2(machine: Machine) -> Any:
    """A boto3 EC2 client of the cloud."""
    return machine.client("ec2")


@pytest.fixture(scope="session")
def images(ec2: Any) -> dict[str, str]:
    """AMI ids by family: ``tiny`` and ``debian-12``."""
    found = ec2.describe_images(Owners=["amazon"])["Images"]
    return {family: one["ImageId"] for one in found for family in ("tiny", "debian-12") if family in one["Name"]}


@pytest.fixture(scope="session")
def key(ec2: Any, tmp_path_factory: pytest.TempPathFactory) -> Key:
    """An ED25519 key pair, downloaded once."""
    path = tmp_path_factory.mktemp("key") / "e2e.pem"
    path.touch(mode=0o600)
    path.write_text(ec2.create_key_pair(KeyName="e2e", KeyType="ed25519")["KeyMaterial"])
    return Key("e2e", path)


@pytest.fixture(scope="session")
def ssh_group(ec2: Any) -> str:
    """A security group that lets SSH and ping in from everywhere."""
    group = ec2.create_security_group(GroupName="e2e-ssh", Description="SSH and ping")["GroupId"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ping = {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh, ping])
    return group


@pytest.fixture
def launch(ec2: Any, images: dict[str, str], key: Key, ssh_group: str, machine: Machine) -> Iterator[Launcher]:
    """``launch("tiny", 2, UserData=…)`` → guests, terminated after the test."""
    launcher = Launcher(ec2, images, key, ssh_group, machine)
    yield launcher
    launcher.clean()


@pytest.fixture(scope="module")
def shared_launch(ec2: Any, images: dict[str, str], key: Key, ssh_group: str, machine: Machine) -> Iterator[Launcher]:
    """As ``launch``, for guests that all tests of a module use."""
    launcher = Launcher(ec2, images, key, ssh_group, machine)
    yield launcher
    launcher.clean()
