"""Volumes in real guests: plugged while they run, found by their ids, carried from one to another, grown under a mount."""

from collections.abc import Iterator
from typing import Any

import pytest
from e2e_guests import Guest, Launcher
from e2e_machine import Login, Machine, eventually

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

MIB = 1 << 20


@pytest.fixture(scope="module")
def pair(shared_launch: Launcher) -> list[Guest]:
    """Two small guests in one zone."""
    return shared_launch("tiny", 2)


@pytest.fixture(scope="module")
def zone(pair: list[Guest]) -> str:
    return pair[0].describe()["Placement"]["AvailabilityZone"]


@pytest.fixture
def make(ec2: Any, zone: str) -> Iterator[Any]:
    """``make(Size=1)``: the id of a volume, deleted after the test if it is still there."""
    made: list[str] = []

    def create(**params: Any) -> str:
        params = {"AvailabilityZone": zone, "Size": 1, "VolumeType": "gp3", **params}
        volume_id = ec2.create_volume(**params)["VolumeId"]
        made.append(volume_id)
        until(ec2, volume_id, "available")
        return volume_id

    yield create
    for volume_id in made:
        found = ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume_id]}])["Volumes"]
        for attachment in found[0]["Attachments"] if found else ():
            ec2.detach_volume(VolumeId=volume_id, InstanceId=attachment["InstanceId"], Force=True)
        if found:
            until(ec2, volume_id, "available")
            ec2.delete_volume(VolumeId=volume_id)


def volume(ec2: Any, volume_id: str) -> Any:
    return ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]


def until(ec2: Any, volume_id: str, state: str) -> None:
    """Waits for a state of the volume, or of its attachment."""

    def states() -> set[str]:
        told = volume(ec2, volume_id)
        return {told["State"], *(one["State"] for one in told["Attachments"])}

    eventually(lambda: state in states(), 60)


def attach(ec2: Any, volume_id: str, guest: Guest, device: str = "/dev/sdf") -> None:
    ec2.attach_volume(VolumeId=volume_id, InstanceId=guest.id, Device=device)
    until(ec2, volume_id, "attached")


def detach(ec2: Any, volume_id: str) -> None:
    ec2.detach_volume(VolumeId=volume_id)
    until(ec2, volume_id, "available")


def device_of(login: Login, serial: str) -> str:
    """Where the guest has the disk of this serial; "" when it has not."""
    found = login.try_run(f"grep -l {serial} /sys/block/*/serial").stdout.split()
    return f"/dev/{found[0].split('/')[3]}" if found else ""


def seen_by(login: Login, volume_id: str) -> str:
    """Waits until the guest has the volume, and says where."""
    return eventually(lambda: device_of(login, volume_id.replace("-", "")), 30)


def size_in(login: Login, device: str) -> int:
    return int(login.run(f"cat /sys/block/{device.removeprefix('/dev/')}/size")) * 512


def test_a_volume_from_guest_to_guest(machine: Machine, ec2: Any, pair: list[Guest], make: Any) -> None:
    first, second = (guest.login() for guest in pair)
    disk = make(Size=1)
    attach(ec2, disk, pair[0])
    here = seen_by(first, disk)
    assert size_in(first, here) == 1 << 30
    first.run(f"sudo mke2fs {here} && sudo mkdir -p /mnt/v && sudo mount {here} /mnt/v")
    first.run("sudo dd if=/dev/urandom of=/mnt/v/data bs=1M count=20 && sync")
    before = first.run("sudo sha256sum /mnt/v/data")

    # It grows under the mount, and the guest sees it without being told.
    ec2.modify_volume(VolumeId=disk, Size=8, Iops=4000)
    eventually(lambda: size_in(first, here) == 8 << 30, 60)
    eventually(
        lambda: (
            ec2.describe_volumes_modifications(VolumeIds=[disk])["VolumesModifications"][0]["ModificationState"]
            == "completed"
        ),
        60,
    )
    assert first.run("sudo sha256sum /mnt/v/data") == before
    first.run(f"sudo umount /mnt/v && sudo resize2fs -f {here} && sudo mount {here} /mnt/v")
    blocks = int(first.run("df -k /mnt/v | tail -1").split()[1])
    assert blocks > 7 * MIB

    first.run("sudo umount /mnt/v")
    detach(ec2, disk)
    eventually(lambda: not device_of(first, disk.replace("-", "")), 30)

    attach(ec2, disk, pair[1])
    there = seen_by(second, disk)
    second.run(f"sudo mkdir -p /mnt/v && sudo mount {there} /mnt/v")
    assert second.run("sudo sha256sum /mnt/v/data") == before
    second.run("sudo umount /mnt/v")
    machine.aws("ec2", "detach-volume", "--volume-id", disk)
    until(ec2, disk, "available")
    machine.aws("ec2", "delete-volume", "--volume-id", disk)
    machine.aws("ec2", "wait", "volume-deleted", "--volume-ids", disk)
    assert not [path for path in machine.root.rglob("*") if disk in path.name]


def test_a_volume_stays_over_stop_and_start(ec2: Any, pair: list[Guest], make: Any) -> None:
    disk = make(Size=1)
    attach(ec2, disk, pair[0])
    login = pair[0].login()
    here = seen_by(login, disk)
    login.run(f"echo kept | sudo dd of={here} && sync")
    ec2.stop_instances(InstanceIds=[pair[0].id])
    pair[0].until("stopped")
    ec2.start_instances(InstanceIds=[pair[0].id])
    pair[0].until("running")
    login = pair[0].login()
    assert login.run(f"sudo head -c 4 {seen_by(login, disk)}") == "kept"
    detach(ec2, disk)


def test_a_volume_that_is_torn_out_while_it_is_mounted(ec2: Any, pair: list[Guest], make: Any) -> None:
    disk = make(Size=1)
    attach(ec2, disk, pair[1])
    login = pair[1].login()
    here = seen_by(login, disk)
    login.run(
        f"sudo mke2fs {here} && sudo mkdir -p /mnt/t && sudo mount {here} /mnt/t && echo x | sudo tee /mnt/t/x && sync"
    )
    ec2.detach_volume(VolumeId=disk, Force=True)
    until(ec2, disk, "available")
    assert login.try_run("sudo dd if=/dev/zero of=/mnt/t/y bs=1M count=8 && sync -f /mnt/t/y").returncode != 0
    login.try_run("sudo umount -l /mnt/t")
    attach(ec2, disk, pair[0])
    other = pair[0].login()
    other.run(f"sudo mkdir -p /mnt/t && sudo mount {seen_by(other, disk)} /mnt/t")
    assert other.run("cat /mnt/t/x") == "x"
    other.run("sudo umount /mnt/t")
    detach(ec2, disk)


def test_a_volume_in_two_guests_at_once(ec2: Any, pair: list[Guest], make: Any) -> None:
    disk = make(Size=4, VolumeType="io2", Iops=100, MultiAttachEnabled=True)
    for guest in pair:
        ec2.attach_volume(VolumeId=disk, InstanceId=guest.id, Device="/dev/sdf")
    eventually(lambda: [one["State"] for one in volume(ec2, disk)["Attachments"]] == ["attached"] * 2, 60)
    first, second = (guest.login() for guest in pair)
    here, there = seen_by(first, disk), seen_by(second, disk)
    first.run(f"echo from-the-first | sudo dd of={here} bs=4096 conv=sync,fsync")
    assert second.run(f"sudo head -c 14 {there}") == "from-the-first"
    for guest in pair:
        ec2.detach_volume(VolumeId=disk, InstanceId=guest.id)
    until(ec2, disk, "available")


def test_an_encrypted_volume_shows_nothing_on_the_hosts_disk(
    machine: Machine, ec2: Any, pair: list[Guest], make: Any
) -> None:
    disk = make(Size=1, Encrypted=True)
    attach(ec2, disk, pair[0])
    login = pair[0].login()
    here = seen_by(login, disk)
    mark = "the-quick-brown-fox-" * 50
    login.run(f"echo {mark} | sudo dd of={here} conv=fsync")
    assert login.run(f"sudo head -c {len(mark)} {here}") == mark
    detach(ec2, disk)
    kept = [path for path in machine.root.rglob("*") if path.is_file() and disk in str(path)]
    assert kept
    assert not any(b"the-quick-brown-fox" in path.read_bytes() for path in kept)
    attach(ec2, disk, pair[1])
    login = pair[1].login()
    assert login.run(f"sudo head -c {len(mark)} {seen_by(login, disk)}") == mark
    detach(ec2, disk)


def test_an_instance_store_is_wiped_at_stop(machine: Machine, ec2: Any, launch: Launcher) -> None:
    mapping = {"DeviceName": "/dev/sdc", "VirtualName": "ephemeral0"}
    (guest,) = launch("tiny", InstanceType="m3.medium", BlockDeviceMappings=[mapping])
    login = guest.login()
    path = "http://169.254.169.254/latest/meta-data/block-device-mapping/ephemeral0"
    token = 'wget -qO- --header "X-aws-ec2-metadata-token: $T"'
    assert "sdc" in login.run(f"T=; {token} {path} || wget -qO- {path}")
    store = eventually(lambda: device_of(login, "AWS"), 30)
    assert size_in(login, store) == 4 * 10**9 // MIB * MIB
    login.run(f"echo secret | sudo dd of={store} conv=fsync")
    boot = login.run("cat /proc/sys/kernel/random/boot_id")
    ec2.reboot_instances(InstanceIds=[guest.id])
    eventually(lambda: login.try_run("cat /proc/sys/kernel/random/boot_id").stdout.strip() not in {"", boot}, 120, 1.0)
    login = guest.login()
    assert login.run(f"sudo head -c 6 {device_of(login, 'AWS')}") == "secret"
    ec2.stop_instances(InstanceIds=[guest.id])
    guest.until("stopped")
    eventually(lambda: not [path for path in machine.root.rglob("store-*") if "-1-0" in path.name], 60)
    ec2.start_instances(InstanceIds=[guest.id])
    guest.until("running")
    login = guest.login()
    assert login.run(f"sudo head -c 6 {device_of(login, 'AWS')} | tr -d '\\0'") == ""
