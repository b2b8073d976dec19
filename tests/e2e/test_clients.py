"""Other ways to the same cloud: libcloud, a profile for the AWS CLI. And guests that do without any of it for a while."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from e2e_guests import Launcher
from e2e_machine import AWS, Login, Machine, eventually
from e2e_traces import qemu, traces
from libcloud.compute.drivers.ec2 import EC2NodeDriver
from libcloud.compute.types import NodeState

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]


def test_libcloud_makes_a_node_and_destroys_it(machine: Machine, images: dict[str, str], tmp_path: Path) -> None:
    told = machine.environment()
    url = urlsplit(told["AWS_ENDPOINT_URL"])
    keys = (told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"])
    driver: Any = EC2NodeDriver(*keys, region="us-east-1", host=url.hostname, port=url.port, secure=False)
    pair = driver.create_key_pair("libcloud")
    path = tmp_path / "libcloud.pem"
    path.touch(mode=0o600)
    path.write_text(pair.private_key)
    driver.ex_create_security_group("libcloud", "SSH")
    driver.ex_authorize_security_group_permissive("libcloud")
    node = driver.create_node(
        name="deployed",
        image=driver.get_image(images["tiny"]),
        size=next(size for size in driver.list_sizes() if size.id == "t3.nano"),
        ex_keyname="libcloud",
        ex_securitygroup="libcloud",
        ex_userdata="#!/bin/sh\necho from libcloud >/tmp/hello\n",
    )
    try:
        ((node, addresses),) = driver.wait_until_running([node], wait_period=0.5, timeout=60)
        login = Login("ec2-user", addresses[0], path).wait()
        assert eventually(lambda: login.try_run("cat /tmp/hello").stdout) == "from libcloud\n"
        assert [one.id for one in driver.list_nodes() if one.name == "deployed"] == [node.id]
        (volume,) = driver.list_volumes(node=node)
    finally:
        assert driver.destroy_node(node)
    eventually(lambda: driver.list_nodes(ex_node_ids=[node.id])[0].state == NodeState.TERMINATED)
    eventually(lambda: not traces(machine, node.id) and not traces(machine, volume.id), 20)
    assert driver.delete_key_pair(pair)
    assert driver.ex_delete_security_group("libcloud")


def test_the_aws_cli_with_a_profile(machine: Machine, tmp_path: Path) -> None:
    told = machine.pileus("env", "--profile", "mine", home=tmp_path)
    assert "aws --profile mine" in told
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"HOME": str(tmp_path), "AWS_PAGER": ""}

    def aws(*arguments: str) -> Any:
        argv = [AWS, "--profile", "mine", "--output", "json", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert aws("sts", "get-caller-identity")["Account"] == "000000000001"
    assert {zone["RegionName"] for zone in aws("ec2", "describe-availability-zones")["AvailabilityZones"]} == {
        "us-east-1"
    }
    path = "/aws/service/pileus/tiny/latest/amd64"
    image = aws("ssm", "get-parameter", "--name", path)["Parameter"]["Value"]
    assert aws("ec2", "describe-images", "--image-ids", image)["Images"][0]["Public"]


def test_guests_live_on_without_the_cloud(machine: Machine, ec2: Any, launch: Launcher) -> None:
    """While the control plane and the agent are down, guests run and can be reached; their metadata can't be read."""
    guest = launch("tiny")[0]
    login = guest.login()
    before, pid = guest.describe(), qemu(machine, guest.id)
    boot = login.run("cat /proc/sys/kernel/random/boot_id")
    machine.pileus("down")
    try:
        assert login.run("cat /proc/sys/kernel/random/boot_id") == boot
        assert login.try_run("ec2-metadata meta-data/instance-id").returncode != 0
        assert "does not answer" in machine.pileus("status", check=False)
    finally:
        machine.pileus("up")
    eventually(lambda: login.try_run("ec2-metadata meta-data/instance-id").stdout == guest.id)
    assert guest.describe() == before
    assert qemu(machine, guest.id) == pid
    assert login.run("cat /proc/sys/kernel/random/boot_id") == boot
    # It is not only seen but held: what its owner asks for is done.
    ec2.stop_instances(InstanceIds=[guest.id])
    guest.until("stopped")


def test_a_guest_that_ends_while_nobody_looks(machine: Machine, launch: Launcher) -> None:
    guest = launch("tiny")[0]
    login = guest.login()
    pid = qemu(machine, guest.id)
    machine.pileus("down")
    try:
        login.try_run("sudo poweroff")
        eventually(lambda: login.try_run("true").returncode != 0)
    finally:
        machine.pileus("up")
    assert guest.until("stopped")["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert qemu(machine, guest.id) is None
    assert pid is not None
