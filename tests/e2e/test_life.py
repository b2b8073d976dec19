"""A life with instances: from two launches in one call to the last trace. The tests share guests and go on where the
one before left off."""

import base64
import os
import signal
import subprocess
from typing import Any

import pytest
from botocore.exceptions import ClientError
from e2e_guests import Guest, Key, Launcher
from e2e_machine import Machine, eventually
from e2e_traces import qemu, traces, vpc_namespaces

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

METADATA = "http://169.254.169.254/latest/meta-data/"
ADDRESSES = ("PublicIpAddress", "PrivateIpAddress", "PublicDnsName")


@pytest.fixture(scope="module")
def pair(machine: Machine, shared_launch: Launcher, images: dict[str, str], key: Key, ssh_group: str) -> list[Guest]:
    """Two guests from one call of the AWS CLI, with tags that they can read and a larger volume."""
    answer = machine.aws(
        *("ec2", "run-instances", "--image-id", images["tiny"], "--instance-type", "t3.nano", "--count", "2"),
        *("--key-name", key.name, "--security-group-ids", ssh_group),
        *("--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=pair}]"),
        *("--metadata-options", "InstanceMetadataTags=enabled"),
        *("--block-device-mappings", "DeviceName=/dev/xvda,Ebs={VolumeSize=3}"),
        *("--user-data", "#!/bin/sh\necho user data ran >/root/ran\n"),
    )
    return shared_launch.adopt(answer)


@pytest.fixture(scope="module")
def third(
    ec2: Any,
    pair: list[Guest],
    shared_launch: Launcher,
    images: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Guest:
    """A guest with an RSA key, in the default group, which ends for ever when it shuts itself down."""
    path = tmp_path_factory.mktemp("rsa") / "rsa.pem"
    path.touch(mode=0o600)
    path.write_text(ec2.create_key_pair(KeyName="e2e-rsa")["KeyMaterial"])
    default = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    answer = ec2.run_instances(
        ImageId=images["tiny"],
        InstanceType="t3.nano",
        KeyName="e2e-rsa",
        MinCount=1,
        MaxCount=1,
        SecurityGroupIds=[default],
        InstanceInitiatedShutdownBehavior="terminate",
    )
    return shared_launch.adopt(answer, key=Key("e2e-rsa", path))[0]


def boot_id(guest: Guest) -> str:
    """What the guest's kernel calls this boot; "" while it can't be asked."""
    return guest.login().run("cat /proc/sys/kernel/random/boot_id")


def test_two_guests_from_one_call(machine: Machine, pair: list[Guest], third: Guest, ec2: Any) -> None:
    ids = [guest.id for guest in pair]
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    machine.aws("ec2", "wait", "instance-running", "--instance-ids", *ids)
    machine.aws("ec2", "wait", "instance-status-ok", "--instance-ids", *ids)
    found = machine.aws("ec2", "describe-instances", "--filters", "Name=tag:Name,Values=pair")["Reservations"]
    assert [one["InstanceId"] for one in found[0]["Instances"]] == ids
    assert [one["AmiLaunchIndex"] for one in found[0]["Instances"]] == [0, 1]
    addresses = {one["PublicIpAddress"] for one in found[0]["Instances"]}
    assert len(addresses) == 2
    names = {guest.login().run("hostname") for guest in pair}
    assert len(names) == 2


def test_user_data_ran_as_root(pair: list[Guest]) -> None:
    logins = [guest.login() for guest in pair]
    eventually(lambda: all(login.try_run("sudo cat /root/ran").stdout == "user data ran\n" for login in logins))


def test_the_file_system_fills_a_larger_volume(machine: Machine, pair: list[Guest]) -> None:
    guest = pair[0]
    (volume,) = machine.aws("ec2", "describe-volumes", "--filters", f"Name=attachment.instance-id,Values={guest.id}")[
        "Volumes"
    ]
    assert (volume["Size"], volume["State"], volume["Attachments"][0]["Device"]) == (3, "in-use", "/dev/xvda")
    assert guest.describe()["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] == volume["VolumeId"]
    login = guest.login()
    assert eventually(lambda: int(login.run("df -m / | awk 'NR == 2 {print $2}'")) > 2700)


def test_only_its_own_metadata(pair: list[Guest]) -> None:
    for guest in pair:
        seen, login = guest.describe(), guest.login()
        expected = {
            "instance-id": guest.id,
            "local-ipv4": seen["PrivateIpAddress"],
            "public-ipv4": seen["PublicIpAddress"],
            "security-groups": "e2e-ssh",
            "tags/instance/Name": "pair",
            "ami-launch-index": str(seen["AmiLaunchIndex"]),
            "placement/availability-zone": seen["Placement"]["AvailabilityZone"],
        }
        asked = "; ".join(f"ec2-metadata meta-data/{path}; echo" for path in expected)
        assert login.run(asked).splitlines() == list(expected.values())
        assert login.run("ec2-metadata user-data") == "#!/bin/sh\necho user data ran >/root/ran"


def test_metadata_follows_tags_and_options(machine: Machine, pair: list[Guest]) -> None:
    guest = pair[0]
    login = guest.login()
    machine.aws("ec2", "create-tags", "--resources", guest.id, "--tags", "Key=role,Value=first")
    assert eventually(lambda: login.try_run("ec2-metadata meta-data/tags/instance/role").stdout) == "first"

    def version_1() -> str:
        done = login.try_run(f"wget -q -O - {METADATA}instance-id 2>&1")
        return done.stdout

    def modify(*options: str) -> None:
        machine.aws("ec2", "modify-instance-metadata-options", "--instance-id", guest.id, *options)

    assert version_1() == guest.id
    modify("--http-tokens", "required")
    eventually(lambda: "401" in version_1())
    assert login.run("ec2-metadata meta-data/instance-id") == guest.id
    modify("--http-endpoint", "disabled")
    eventually(lambda: "403" in version_1())
    assert login.try_run("ec2-metadata meta-data/instance-id").returncode == 2
    modify("--http-endpoint", "enabled", "--http-tokens", "optional")
    eventually(lambda: version_1() == guest.id)


def test_groups_can_be_exchanged(ec2: Any, ssh_group: str, third: Guest) -> None:
    """The default group lets nobody in from outside."""
    address = third.describe()["PublicIpAddress"]
    assert not answers(address)
    ec2.modify_instance_attribute(InstanceId=third.id, Groups=[ssh_group])
    eventually(lambda: answers(address))


def answers(address: str) -> bool:
    """Whether an SSH server greets from outside."""
    return bool(subprocess.run(["ssh-keyscan", "-T", "1", address], capture_output=True, check=False).stdout)


def test_login_with_an_rsa_key(third: Guest) -> None:
    assert third.login().run("id -un") == "ec2-user"


def test_console_shows_the_host_key(machine: Machine, pair: list[Guest]) -> None:
    assert seen_fingerprint(pair[0]) in eventually(lambda: fingerprints(machine, pair[0]))


def seen_fingerprint(guest: Guest) -> str:
    """The fingerprint of the key that the guest's SSH server shows."""
    address = guest.describe()["PublicIpAddress"]
    scan = subprocess.run(["ssh-keyscan", "-t", "ed25519", address], capture_output=True, check=True)
    listed = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=scan.stdout, capture_output=True, check=True)
    return listed.stdout.decode().split()[1]


def fingerprints(machine: Machine, guest: Guest) -> str:
    """What the console says between the marks around fingerprints."""
    output = machine.aws("ec2", "get-console-output", "--instance-id", guest.id)["Output"]
    _, _, rest = output.partition("BEGIN SSH HOST KEY FINGERPRINTS")
    inside, end, _ = rest.partition("END SSH HOST KEY FINGERPRINTS")
    return inside if end else ""


def test_screenshot_is_a_picture(ec2: Any, pair: list[Guest]) -> None:
    picture = base64.b64decode(ec2.get_console_screenshot(InstanceId=pair[0].id)["ImageData"])
    assert picture.startswith(b"\x89PNG")


def test_dry_run_changes_nothing(ec2: Any, pair: list[Guest]) -> None:
    before = pair[0].describe()
    for call in (ec2.terminate_instances, ec2.stop_instances, ec2.reboot_instances):
        with pytest.raises(ClientError, match="DryRunOperation"):
            call(InstanceIds=[pair[0].id], DryRun=True)
    assert pair[0].describe() == before


def test_reboot_keeps_files_and_addresses(machine: Machine, pair: list[Guest]) -> None:
    guest = pair[0]
    before, first = guest.describe(), boot_id(guest)
    guest.login().run("echo kept >kept")
    machine.aws("ec2", "reboot-instances", "--instance-ids", guest.id)
    eventually(lambda: answers(before["PublicIpAddress"]) and boot_id(guest) != first)
    assert guest.login().run("cat kept") == "kept"
    after = guest.describe()
    assert after["State"]["Name"] == "running"
    assert [after[name] for name in ADDRESSES] == [before[name] for name in ADDRESSES]


def test_a_crash_is_repaired_without_the_owner(machine: Machine, pair: list[Guest]) -> None:
    guest = pair[1]
    first, pid = boot_id(guest), qemu(machine, guest.id)
    guest.login().run("echo kept >kept && sync")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: qemu(machine, guest.id) not in {None, pid})
    assert boot_id(guest) != first
    assert guest.login().run("cat kept") == "kept"
    assert guest.state() == "running"


def test_stop_and_start(machine: Machine, ec2: Any, pair: list[Guest]) -> None:
    guest = pair[0]
    before = guest.describe()
    machine.aws("ec2", "stop-instances", "--instance-ids", guest.id)
    stopped = guest.until("stopped")
    assert "PublicIpAddress" not in stopped
    assert qemu(machine, guest.id) is None
    # An address that was given back may be given to another at once: somebody else takes it.
    taken = [ec2.allocate_address(Domain="vpc", Address=before["PublicIpAddress"])]
    machine.aws("ec2", "start-instances", "--instance-ids", guest.id)
    after = guest.until("running")
    assert after["PublicIpAddress"] != before["PublicIpAddress"]
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert guest.login().run("cat kept; ec2-metadata meta-data/public-ipv4") == f"kept\n{after['PublicIpAddress']}"
    for address in taken:
        ec2.release_address(AllocationId=address["AllocationId"])


def test_a_guest_that_powers_off_is_stopped(pair: list[Guest]) -> None:
    guest = pair[0]
    guest.login().try_run("sudo poweroff")
    stopped = guest.until("stopped")
    assert stopped["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_guest_that_powers_off_is_terminated_when_asked_for(machine: Machine, third: Guest) -> None:
    seen = seen_fingerprint(third)
    third.login().try_run("sudo poweroff")
    ended = third.until("terminated")
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert seen in fingerprints(machine, third)


def test_protected_from_termination(ec2: Any, pair: list[Guest]) -> None:
    guest = pair[1]
    ec2.modify_instance_attribute(InstanceId=guest.id, DisableApiTermination={"Value": True})
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[guest.id])
    assert guest.state() == "running"
    ec2.modify_instance_attribute(InstanceId=guest.id, DisableApiTermination={"Value": False})


def test_nothing_is_left(machine: Machine, ec2: Any, pair: list[Guest], third: Guest) -> None:
    volumes = [mapping["Ebs"]["VolumeId"] for guest in pair for mapping in guest.describe()["BlockDeviceMappings"]]
    interfaces = [one["NetworkInterfaceId"] for guest in pair for one in guest.describe()["NetworkInterfaces"]]
    assert len(volumes) == len(interfaces) == 2
    assert all(traces(machine, name) for name in (pair[1].id, *volumes, interfaces[1]))
    machine.aws("ec2", "terminate-instances", "--instance-ids", *(guest.id for guest in pair))
    for guest in pair:
        guest.until("terminated")
    machine.aws("ec2", "wait", "instance-terminated", "--instance-ids", *(guest.id for guest in pair))
    names = (*(guest.id for guest in (*pair, third)), *volumes, *interfaces)
    eventually(lambda: not any(traces(machine, name) for name in names), 20)
    assert ec2.describe_volumes()["Volumes"] == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    eventually(lambda: not vpc_namespaces(machine), 20)
