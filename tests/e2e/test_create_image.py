"""Images of real instances: what was changed in one is in those that are launched from its image."""

from typing import Any

import pytest
from e2e_guests import Guest, Launcher
from e2e_machine import eventually

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]


def image_of(ec2: Any, guest: Guest, name: str, **params: Any) -> str:
    """An image of a guest, available."""
    image = ec2.create_image(InstanceId=guest.id, Name=name, **params)["ImageId"]

    def state() -> str:
        return ec2.describe_images(ImageIds=[image])["Images"][0]["State"]

    eventually(lambda: state() != "pending", 300)
    told = ec2.describe_images(ImageIds=[image])["Images"][0]
    assert told["State"] == "available", told.get("StateReason")
    return image


def test_a_changed_instance(ec2: Any, launch: Launcher) -> None:
    (guest,) = launch("tiny")
    login = guest.login()
    boot = login.run("cat /proc/sys/kernel/random/boot_id")
    # Nothing is flushed here: the guest shuts down in order before its disk is taken.
    login.run("sudo sh -c 'echo changed >/root/changed' && sudo chmod 755 /root")
    image = image_of(ec2, guest, "changed", Description="with a change")
    assert guest.state() == "running"
    again = guest.login()
    assert again.run("cat /proc/sys/kernel/random/boot_id") != boot
    assert again.run("cat /root/changed") == "changed"
    # What comes later is not in the image.
    again.run("sudo sh -c 'echo later >/root/later' && sync")
    (twin,) = launch("tiny", ImageId=image)
    other = twin.login()
    assert other.run("cat /root/changed") == "changed"
    assert other.try_run("cat /root/later").returncode != 0
    assert other.run("hostname") != again.run("hostname")
    for made in (image,):
        ec2.deregister_image(ImageId=made, DeleteAssociatedSnapshots=True)
    assert other.run("cat /root/changed") == "changed"


def test_all_volumes_without_a_reboot(ec2: Any, launch: Launcher) -> None:
    (guest,) = launch("tiny", BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}])
    login = guest.login()
    boot = login.run("cat /proc/sys/kernel/random/boot_id")
    login.run("sudo mke2fs /dev/vdb && sudo mount /dev/vdb /mnt && sudo sh -c 'echo data >/mnt/data' && sync")
    login.run("sudo sh -c 'echo root >/root/root' && sudo chmod 755 /root && sync")
    image = image_of(ec2, guest, "both", NoReboot=True)
    assert login.run("cat /proc/sys/kernel/random/boot_id") == boot
    (twin,) = launch("tiny", ImageId=image)
    other = twin.login()
    assert other.run("cat /root/root") == "root"
    assert other.run("sudo mount /dev/vdb /mnt && cat /mnt/data") == "data"
    ec2.deregister_image(ImageId=image)
