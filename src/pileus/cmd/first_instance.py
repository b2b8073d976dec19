"""The main job, end to end: a first instance that one can log in to. Run by ``make up`` through ``pileus first-instance``."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pileus.base.clock import SystemClock
from pileus.base.process import run_sync
from pileus.cmd.errors import CloudError

NAME = "pileus-first"
_clock = SystemClock()
Progress = Callable[[str], None]


class Offer(NamedTuple):
    """An image to launch: its AMI id and name, and the login of its default user."""

    ami: str
    name: str
    user: str


def ensure_first_instance(
    ec2: Any, image: Offer, instance_type: str, keys: Path, link: str, progress: Progress
) -> tuple[Path, str]:
    """A running instance named ``pileus-first`` whose SSH answers. Returns the private key's file and ``user@address``.

    ``link`` is how the names of the cloud's own network links begin. Every step looks first whether it is done.
    Raises CloudError when the instance does not come up.
    """
    key_file = _ensure_key(ec2, keys, progress)
    group = _ensure_group(ec2, progress)
    instance = _find(ec2)
    if instance is None:
        progress(f"launching {image.name} as {instance_type}")
        launched = ec2.run_instances(
            ImageId=image.ami,
            InstanceType=instance_type,
            MinCount=1,
            MaxCount=1,
            KeyName=NAME,
            SecurityGroupIds=[group],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": NAME}]}],
        )
        instance = launched["Instances"][0]
    instance_id = instance["InstanceId"]
    if instance["State"]["Name"] == "stopped":
        progress(f"starting {instance_id}")
        ec2.start_instances(InstanceIds=[instance_id])
    progress(f"waiting for {instance_id} to run")
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance_id], WaiterConfig={"Delay": 1, "MaxAttempts": 180})
    address = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]["PublicIpAddress"]
    progress(f"waiting for SSH on {address}")
    wait_for_ssh(address, link)
    return key_file, f"{image.user}@{address}"


def _ensure_key(ec2: Any, keys: Path, progress: Progress) -> Path:
    path = keys / f"{NAME}.pem"
    known = ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": [NAME]}])["KeyPairs"]
    if known and path.exists():
        return path
    progress(f"making the key pair {NAME}")
    if known:
        ec2.delete_key_pair(KeyName=NAME)
    material = ec2.create_key_pair(KeyName=NAME, KeyType="ed25519")["KeyMaterial"]
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(material)
    return path


def _ensure_group(ec2: Any, progress: Progress) -> str:
    named = [{"Name": "group-name", "Values": [NAME]}]
    found = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    if found:
        return found[0]["GroupId"]
    progress("making a security group that lets SSH in")
    group = ec2.create_security_group(GroupName=NAME, Description="SSH from anywhere")["GroupId"]
    everywhere = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[everywhere])
    return group


def _find(ec2: Any) -> Any | None:
    wanted = [
        {"Name": "tag:Name", "Values": [NAME]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    for reservation in ec2.describe_instances(Filters=wanted)["Reservations"]:
        return reservation["Instances"][0]
    return None


def wait_for_ssh(address: str, link: str, patience: float = 240.0) -> None:
    """Waits until an SSH server greets. Only over the cloud's own link: nothing may be sent out of the machine.

    Raises:
        CloudError: the address is routed elsewhere, or nobody greeted in ``patience`` seconds.
    """
    route = run_sync("ip", "-oneline", "route", "get", address).decode()
    if f" dev {link}" not in route:
        raise CloudError(f"{address} is not routed to this cloud on this machine: {route.strip()}")
    deadline = _clock.monotonic() + patience
    while _clock.monotonic() < deadline:
        try:
            with socket.create_connection((address, 22), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        threading.Event().wait(0.1)
    raise CloudError(f"No SSH server answered on {address} in {patience:.0f} s.")
