"""Packer's amazon-ebs builder against simulated hosts: every call that it makes, without a guest to log in to."""

import asyncio
import json
import os
import shutil

from pileus.records import Image, Instance
from pileus.records.instance import State


async def test_packer_makes_an_image_and_cleans_up(cloud, ec2, directory):
    packer = shutil.which("packer")
    assert packer, "Debian's packer is needed"
    builder = {
        "type": "amazon-ebs",
        "access_key": cloud.credentials.access_key,
        "secret_key": cloud.credentials.secret_key,
        "region": cloud.config.default_region,
        "custom_endpoint_ec2": cloud.endpoint,
        "skip_region_validation": True,
        "source_ami_filter": {"filters": {"name": "pileus-tiny-*"}, "owners": ["amazon"], "most_recent": True},
        "instance_type": "t3.micro",
        "communicator": "none",
        "ami_name": "packed {{timestamp}}",
        "ami_description": "made by Packer",
        "tags": {"Builder": "packer"},
        "snapshot_tags": {"Builder": "packer"},
        "run_tags": {"Name": "being packed"},
        "launch_block_device_mappings": [{"device_name": "/dev/sdf", "volume_size": 2, "delete_on_termination": True}],
    }
    template = directory / "template.json"
    template.write_text(json.dumps({"builders": [builder]}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "PACKER_CACHE_DIR": str(directory),
        "CHECKPOINT_DISABLE": "1",
        "HOME": str(directory),
        "AWS_POLL_DELAY_SECONDS": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *(packer, "build", "-machine-readable", str(template)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await asyncio.wait_for(process.communicate(), 120))[0].decode()
    assert process.returncode == 0, output
    line = next(line for line in output.splitlines() if ",artifact,0,id," in line)
    image = cloud.store.view().get(Image, line.rpartition(":")[2])
    assert (image.state, image.description, image.tags["Builder"]) == ("available", "made by Packer", "packer")
    assert [device.device_name for device in image.devices] == ["/dev/xvda", "/dev/sdf"]
    (snapshot,) = (await ec2.describe_snapshots(SnapshotIds=[image.snapshot_id]))["Snapshots"]
    assert {"Key": "Builder", "Value": "packer"} in snapshot["Tags"]
    assert all(one.state in {State.SHUTTING_DOWN, State.TERMINATED} for one in cloud.store.view().list(Instance))
    assert (await ec2.describe_key_pairs())["KeyPairs"] == []
    groups = (await ec2.describe_security_groups())["SecurityGroups"]
    assert [one["GroupName"] for one in groups if one["GroupName"] != "default"] == []
