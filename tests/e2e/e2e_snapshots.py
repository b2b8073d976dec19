"""Snapshots as the tests read them: whole, block by block, past hosts and guests; and writers whose files tell what is there."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

from e2e_guests import Guest
from e2e_machine import Login, eventually

BLOCK = 512 * 1024

WRITER = r"""#!/bin/sh
# Writes files one after the other, each with its checksum; a number is in /run/flushed once its file is on the disk.
mkdir -p /data
i=0
while [ ! -e /run/enough ]; do
    i=$((i + 1))
    dd if=/dev/urandom of=/data/$i bs=4096 count=16 2>/dev/null
    sha256sum /data/$i >/data/$i.sum
    sync
    echo $i >/run/flushed.new && mv /run/flushed.new /run/flushed
done
"""
"""To be run as root in the background: ``start_writer``."""


def start_writer(login: Login) -> None:
    """Starts the writer in a guest and waits until it has written something."""
    login.run("cat >/tmp/writer <<'END'\n" + WRITER + "END\nchmod +x /tmp/writer")
    login.run("sudo rm -f /run/enough; sudo setsid /tmp/writer </dev/null >/dev/null 2>&1 &")
    eventually(lambda: flushed(login) > 3, 60)


def stop_writer(login: Login) -> None:
    """Lets it end."""
    login.run("sudo touch /run/enough")


def flushed(login: Login) -> int:
    """The number of the last file that is on the disk for sure."""
    told = login.try_run("cat /run/flushed").stdout.strip()
    return int(told) if told else 0


def read_snapshot(ebs: Any, snapshot_id: str, into: Path) -> int:
    """Writes a snapshot's blocks to a sparse file, each checked as clients of the EBS direct API do. How many they are."""
    count, token = 0, None
    with into.open("wb") as file:
        while True:
            page = ebs.list_snapshot_blocks(SnapshotId=snapshot_id, **({"NextToken": token} if token else {}))
            file.truncate(page["VolumeSize"] << 30)
            for block in page["Blocks"]:
                answer = ebs.get_snapshot_block(
                    SnapshotId=snapshot_id, BlockIndex=block["BlockIndex"], BlockToken=block["BlockToken"]
                )
                data = answer["BlockData"].read()
                assert len(data) == answer["DataLength"]
                file.seek(block["BlockIndex"] * BLOCK)
                file.write(data)
                count += 1
            token = page.get("NextToken")
            if not token:
                return count


def check_file_system(image: Path) -> None:
    """Replays the journal of a file system in a file, and finds nothing else to mend."""
    replayed = subprocess.run(["e2fsck", "-p", str(image)], capture_output=True, text=True, check=False)
    assert replayed.returncode in {0, 1}, replayed.stdout + replayed.stderr
    found = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def files_in(image: Path, target: Path) -> dict[int, bool]:
    """The writer's files in a file system in a file: whether each is what its checksum says."""
    target.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump /data {target}", str(image)], capture_output=True, check=True)
    return files_under(target / "data")


def files_under(directory: Path) -> dict[int, bool]:
    """The same of a directory."""
    found: dict[int, bool] = {}
    for path in directory.iterdir():
        if path.suffix != ".sum":
            told = path.with_suffix(".sum")
            wanted = told.read_text().split()[0:1] if told.exists() else []
            found[int(path.name)] = wanted == [hashlib.sha256(path.read_bytes()).hexdigest()]
    return found


def check_files(found: dict[int, bool], before: int, after: int) -> None:
    """All that was on the disk before the call is there and right; nothing is there that came after the answer."""
    missing = [number for number in range(1, before + 1) if not found.get(number)]
    assert not missing, f"files {missing} of {before} are missing or wrong"
    # The one that was being written when the answer came may be there, and so may the next.
    late = [number for number in found if number > after + 1]
    assert not late, f"files {late} were written after the answer, when {after} were flushed"


def completed(ec2: Any, snapshot_id: str, seconds: float = 300) -> Any:
    """Waits for a snapshot's end and describes it."""

    def state() -> str:
        return ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["State"]

    eventually(lambda: state() != "pending", seconds)
    told = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]
    assert told["State"] == "completed", told.get("StateMessage")
    return told


def root_volume(guest: Guest) -> str:
    """The id of a guest's root volume."""
    return guest.describe()["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]


def attach(ec2: Any, volume_id: str, guest: Guest, login: Login, name: str = "/dev/sdf") -> str:
    """The device of a volume in a guest that did not have it."""
    ec2.attach_volume(VolumeId=volume_id, InstanceId=guest.id, Device=name)
    return eventually(lambda: device_of(login, volume_id), 90)


def device_of(login: Login, volume_id: str) -> str:
    """The device of a volume in a guest; "" where it has none."""
    found = login.try_run(f"grep -l {volume_id.replace('-', '')} /sys/block/*/serial").stdout.split()
    return f"/dev/{found[0].split('/')[3]}" if found else ""


def available(ec2: Any, volume_id: str, seconds: float = 60) -> None:
    """Waits until a volume is in no guest."""
    eventually(lambda: ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "available", seconds)


def detach_and_delete(ec2: Any, volume_id: str) -> None:
    """Takes a volume out of its guest, whatever that says, and deletes it."""
    ec2.detach_volume(VolumeId=volume_id, Force=True)
    available(ec2, volume_id)
    ec2.delete_volume(VolumeId=volume_id)
