"""Encrypted volumes of real guests: nothing to be found on the host, and nothing to be had without the KMS key."""

import mmap
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from e2e_guests import Guest, Launcher
from e2e_host import Host
from e2e_machine import Login, Machine, eventually
from e2e_snapshots import attach, available, completed, detach_and_delete, device_of

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

MIB = 1 << 20
REFUSED = "Client.InvalidKMSKey.InvalidState"


@pytest.fixture(scope="module")
def kms(machine: Machine) -> Any:
    return machine.client("kms")


@pytest.fixture(scope="module")
def guest(shared_launch: Launcher) -> Guest:
    return shared_launch("tiny")[0]


@pytest.fixture
def make(ec2: Any, guest: Guest) -> Iterator[Any]:
    """``make(Size=1)``: the id of a volume, deleted after the test if it is still there."""
    made: list[str] = []

    def create(**params: Any) -> str:
        zone = guest.describe()["Placement"]["AvailabilityZone"]
        made.append(ec2.create_volume(AvailabilityZone=zone, VolumeType="gp3", **params)["VolumeId"])
        available(ec2, made[-1])
        return made[-1]

    yield create
    for volume in ec2.describe_volumes()["Volumes"]:
        if volume["VolumeId"] in made and volume["Attachments"]:
            detach_and_delete(ec2, volume["VolumeId"])
        elif volume["VolumeId"] in made and volume["State"] == "available":
            ec2.delete_volume(VolumeId=volume["VolumeId"])


def detach(ec2: Any, volume: str) -> None:
    ec2.detach_volume(VolumeId=volume)
    available(ec2, volume)


def refuse(ec2: Any, volume: str, guest: Guest, login: Login) -> None:
    """Attaching it is tried, and taken back."""
    ec2.attach_volume(VolumeId=volume, InstanceId=guest.id, Device="/dev/sdf")
    available(ec2, volume)
    assert not device_of(login, volume)


def write(login: Login, device: str, data: bytes) -> None:
    """Writes to the beginning of a disk in a guest; the bytes are in no command."""
    argv = [*login.argv, f"sudo dd of={device} bs=64k iflag=fullblock conv=fsync 2>/dev/null"]
    subprocess.run(argv, input=data, check=True, timeout=120)


def read(login: Login, device: str, size: int) -> bytes:
    argv = [*login.argv, f"sudo dd if={device} bs={size} count=1 iflag=fullblock 2>/dev/null"]
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=120).stdout


def files_with(root: Path, mark: bytes) -> set[str]:
    """The files of a directory that have these bytes anywhere, relative to it."""
    found: set[str] = set()
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(mark) >= 0:
                    found.add(str(path.relative_to(root)))
    return found


def test_nothing_of_it_is_on_the_hosts_disk(machine: Machine, ec2: Any, kms: Any, guest: Guest, make: Any) -> None:
    """What can't be compressed would be found as it is in volumes, in bases and in the block store: this is so without a key."""
    key, other_key = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    login = guest.login()
    host = Host(machine, range(*Host.default_uids()))
    secret, known = os.urandom(2 * MIB), os.urandom(2 * MIB)
    mark, known_mark = secret[MIB : MIB + 48], known[MIB : MIB + 48]

    def snapshot_of(volume: str, data: bytes) -> str:
        write(login, attach(ec2, volume, guest, login), data)
        made = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        completed(ec2, made)
        return made

    plain = make(Size=1)
    plain_snapshot = snapshot_of(plain, known)
    detach(ec2, plain)
    volume = make(Size=1, Encrypted=True, KmsKeyId=key)
    snapshot = snapshot_of(volume, secret)
    told = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
    assert (told["Encrypted"], told["KmsKeyId"]) == (True, key)
    copy = ec2.copy_snapshot(
        SourceSnapshotId=snapshot, SourceRegion=ec2.meta.region_name, Encrypted=True, KmsKeyId=other_key
    )["SnapshotId"]
    assert completed(ec2, copy)["KmsKeyId"] == other_key

    for source, used in ((snapshot, key), (copy, other_key), (plain_snapshot, None)):
        restored = make(SnapshotId=source)
        assert ec2.describe_volumes(VolumeIds=[restored])["Volumes"][0].get("KmsKeyId") == used
        device = attach(ec2, restored, guest, login, "/dev/sdg")
        assert read(login, device, 2 * MIB) == (secret if used else known)
        eventually(lambda: not list((machine.root / "bases").glob("*.server/nbd")), 120)  # all of it is in a file now
        assert not files_with(machine.root, mark)
        if used is None:
            where = files_with(machine.root, known_mark)
            for place in (f"volumes/{plain}/", "bases/", str(host.layout.blocks.relative_to(machine.root))):
                assert any(path.startswith(place) for path in where), (place, where)
        detach_and_delete(ec2, restored)
    detach(ec2, volume)
    for made in (snapshot, copy, plain_snapshot):
        ec2.delete_snapshot(SnapshotId=made)


def test_a_key_that_is_disabled_and_enabled_again(ec2: Any, kms: Any, guest: Guest, make: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["Arn"]
    login = guest.login()
    data = os.urandom(MIB)
    used, unused = (make(Size=1, Encrypted=True, KmsKeyId=key) for _ in range(2))
    write(login, attach(ec2, used, guest, login), data)
    snapshot = ec2.create_snapshot(VolumeId=used)["SnapshotId"]
    completed(ec2, snapshot)
    kms.disable_key(KeyId=key)
    assert read(login, device_of(login, used), MIB) == data  # who has it open has its key
    detach(ec2, used)

    for _ in range(2):
        refuse(ec2, used, guest, login)
        refuse(ec2, unused, guest, login)
    status = ec2.describe_volume_status(VolumeIds=[unused])["VolumeStatuses"][0]
    assert status["VolumeStatus"]["Status"] == "impaired"
    with pytest.raises(ClientError, match=r"InvalidKMSKey\.InvalidState"):
        make(SnapshotId=snapshot)

    kms.enable_key(KeyId=key)
    device = attach(ec2, used, guest, login)
    assert read(login, device, MIB) == data
    detach(ec2, used)
    write(login, attach(ec2, unused, guest, login), data)
    detach(ec2, unused)
    restored = make(SnapshotId=snapshot)
    assert read(login, attach(ec2, restored, guest, login), MIB) == data
    detach(ec2, restored)
    ec2.delete_snapshot(SnapshotId=snapshot)


def test_an_instance_does_not_start_while_its_key_is_to_be_deleted(
    ec2: Any, kms: Any, launch: Launcher, images: dict[str, str]
) -> None:
    key = kms.create_key()["KeyMetadata"]["Arn"]
    root = ec2.describe_images(ImageIds=[images["tiny"]])["Images"][0]["RootDeviceName"]
    mapping = {"DeviceName": root, "Ebs": {"Encrypted": True, "KmsKeyId": key}}
    (guest,) = launch("tiny", BlockDeviceMappings=[mapping])
    guest.login().run("echo kept | sudo tee /kept && sync")
    ec2.stop_instances(InstanceIds=[guest.id])
    guest.until("stopped")
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)

    ec2.start_instances(InstanceIds=[guest.id])
    eventually(lambda: REFUSED in guest.describe().get("StateReason", {}).get("Code", ""), 60)
    told = guest.until("stopped")
    assert told["StateReason"]["Code"] == REFUSED

    kms.cancel_key_deletion(KeyId=key)
    kms.enable_key(KeyId=key)
    ec2.start_instances(InstanceIds=[guest.id])
    guest.until("running")
    assert guest.login().run("cat /kept") == "kept"
