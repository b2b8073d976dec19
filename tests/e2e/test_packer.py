"""Packer's amazon-ebs builder as Debian has it: launches, provisions over SSH, stops, images, cleans up.

The dropbear of tiny (2022.83) offers RSA without having such a host key, and dies when a client that prefers RSA to
Ed25519, as all that are written in Go, takes it at its word (https://github.com/mkj/dropbear/issues/219). So tiny has an
ECDSA key, which they like better than either.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e_guests import Launcher
from e2e_machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]


# By image family: the names of its images, an instance type, the user.
FAMILIES = {"tiny": ("pileus-tiny-*", "t3.nano", "ec2-user"), "debian-12": ("debian-12-*", "t3.small", "admin")}


def build(machine: Machine, directory: Path, family: str) -> str:
    """Has Packer build an image, with a key pair and a security group of its own. Returns the AMI id."""
    packer = shutil.which("packer")
    assert packer, "Debian's packer is needed"
    told = machine.environment()
    names, instance_type, user = FAMILIES[family]
    template = {
        "builders": [
            {
                "type": "amazon-ebs",
                "access_key": told["AWS_ACCESS_KEY_ID"],
                "secret_key": told["AWS_SECRET_ACCESS_KEY"],
                "region": told["AWS_DEFAULT_REGION"],
                "custom_endpoint_ec2": told["AWS_ENDPOINT_URL"],
                "skip_region_validation": True,
                "source_ami_filter": {
                    "filters": {"name": names, "root-device-type": "ebs"},
                    "owners": ["amazon"],
                    "most_recent": True,
                },
                "instance_type": instance_type,
                "ssh_username": user,
                "ssh_file_transfer_method": "sftp",  # tiny has no scp
                "ssh_timeout": "10m",
                "ami_name": "packed {{timestamp}}",
                "ami_description": "made by Packer",
                "tags": {"Builder": "packer"},
                "snapshot_tags": {"Builder": "packer"},
                "run_tags": {"Name": "being packed"},
            }
        ],
        "provisioners": [
            {
                "type": "shell",
                "inline": ["echo packed | sudo tee /etc/packed", "sync"],
            }
        ],
    }
    path = directory / "template.json"
    path.write_text(json.dumps(template))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PACKER_"))},
        "AWS_POLL_DELAY_SECONDS": "2",
        "CHECKPOINT_DISABLE": "1",
        "HOME": str(directory),
        "PACKER_CACHE_DIR": str(directory / "cache"),
    }
    done = subprocess.run(
        [packer, "build", "-machine-readable", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr + machine.logs()
    (artifact,) = [line for line in done.stdout.splitlines() if ",artifact,0,id," in line]
    return artifact.rpartition(":")[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_packer_builds_an_image(machine: Machine, ec2: Any, launch: Launcher, tmp_path: Path, family: str) -> None:
    image = build(machine, tmp_path, family)
    (described,) = ec2.describe_images(ImageIds=[image], Owners=["self"])["Images"]
    assert (described["State"], described["Description"]) == ("available", "made by Packer")
    assert described["Tags"] == [{"Key": "Builder", "Value": "packer"}]
    snapshot = described["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    (told_of,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert {"Key": "Builder", "Value": "packer"} in told_of["Tags"]

    # It cleans up behind itself.
    packed = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["being packed"]}])["Reservations"]
    *_, instance = sorted((one for each in packed for one in each["Instances"]), key=lambda one: one["LaunchTime"])
    assert instance["State"]["Name"] in {"shutting-down", "terminated"}
    assert instance["KeyName"].startswith("packer_")
    groups = [one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]]
    keys = [one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]]
    assert [name for name in groups + keys if name.startswith("packer_")] == []

    # What it changed over SSH is in the image; the key that it logged in with does not open instances of it.
    (guest,) = launch(family, ImageId=image)
    login = guest.login()
    assert login.run("cat /etc/packed") == "packed"
    assert "packer_" not in login.run("cat ~/.ssh/authorized_keys")
    ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
