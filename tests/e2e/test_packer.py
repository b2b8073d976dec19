"""Packer's amazon-ebs builder as Debian has it: launches, provisions over SSH, stops, images, cleans up."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e_guests import Key, Launcher
from e2e_machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]


def test_packer_builds_an_image(machine: Machine, ec2: Any, key: Key, launch: Launcher, tmp_path: Path) -> None:
    packer = shutil.which("packer")
    assert packer, "Debian's packer is needed"
    told = machine.environment()
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
                    "filters": {"name": "pileus-tiny-*", "root-device-type": "ebs"},
                    "owners": ["amazon"],
                    "most_recent": True,
                },
                "instance_type": "t3.nano",
                "ssh_username": "ec2-user",
                # Packer of this age signs with its own RSA keys in a way (SHA-1) that current SSH servers refuse.
                "ssh_keypair_name": key.name,
                "ssh_private_key_file": str(key.path),
                "ssh_file_transfer_method": "sftp",
                "ami_name": "packed {{timestamp}}",
                "ami_description": "made by Packer",
                "tags": {"Builder": "packer"},
                "snapshot_tags": {"Builder": "packer"},
                "run_tags": {"Name": "being packed"},
            }
        ],
        "provisioners": [{"type": "shell", "inline": ["echo packed | sudo tee /etc/packed", "sync"]}],
    }
    path = tmp_path / "template.json"
    path.write_text(json.dumps(template))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "CHECKPOINT_DISABLE": "1",
        "HOME": str(tmp_path),
        "AWS_POLL_DELAY_SECONDS": "2",
        "PACKER_CACHE_DIR": str(tmp_path / "cache"),
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
    artifact = next(line for line in done.stdout.splitlines() if ",artifact,0,id," in line)
    image = artifact.rpartition(":")[2]
    (described,) = ec2.describe_images(ImageIds=[image], Owners=["self"])["Images"]
    assert described["Description"] == "made by Packer"
    assert {"Key": "Builder", "Value": "packer"} in described["Tags"]
    snapshot = described["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    (told_of,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert {"Key": "Builder", "Value": "packer"} in told_of["Tags"]

    # It cleans up behind itself.
    packed = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["being packed"]}])["Reservations"]
    assert {one["State"]["Name"] for each in packed for one in each["Instances"]} <= {"shutting-down", "terminated"}
    groups = ec2.describe_security_groups()["SecurityGroups"]
    assert not [one for one in groups if one["GroupName"].startswith("packer")]

    (guest,) = launch("tiny", ImageId=image)
    assert guest.login().run("cat /etc/packed") == "packed"
    ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
