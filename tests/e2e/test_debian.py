"""Debian with cloud-init: what an owner expects of an instance of it. All tests look at one guest."""

import subprocess

import pytest
from e2e_guests import Guest, Launcher
from e2e_machine import Login, eventually

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

USER_DATA = """\
#cloud-config
hostname: debbie
write_files:
  - path: /etc/motto
    content: "written by cloud-init\\n"
    permissions: "0640"
runcmd:
  - [sh, -c, "id -un > /var/lib/ran-by"]
"""


@pytest.fixture(scope="module")
def guest(shared_launch: Launcher) -> Guest:
    """A guest whose volume is larger than its image."""
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 6}}
    return shared_launch("debian-12", UserData=USER_DATA, BlockDeviceMappings=[mapping])[0]


@pytest.fixture(scope="module")
def login(guest: Guest) -> Login:
    """A login after cloud-init has done all that it does."""
    login = guest.login()
    status = login.run("cloud-init status --wait --long", 240)
    assert "status: done" in status
    assert "DataSourceEc2" in status
    return login


def test_cloud_init_knows_the_instance(guest: Guest, login: Login) -> None:
    asked = ("instance_id", "region", "availability_zone", "cloud_name", "subplatform")
    query = " ".join(f"{{{{v1.{name}}}}}," for name in asked)
    seen = guest.describe()
    assert login.run(f"cloud-init query --format '{query}'").rstrip(",").split(", ") == [
        guest.id,
        "us-east-1",
        seen["Placement"]["AvailabilityZone"],
        "aws",
        "metadata (http://169.254.169.254)",
    ]


def test_user_data_ran(login: Login) -> None:
    assert login.run("sudo cat /etc/motto; sudo stat -c %a /etc/motto; cat /var/lib/ran-by; hostname").splitlines() == [
        "written by cloud-init",
        "640",
        "root",
        "debbie",
    ]


def test_admin_is_root_when_it_wants_and_has_no_password(login: Login) -> None:
    assert login.run("id -un; sudo -n id -un").splitlines() == ["admin", "root"]
    passwords = login.run("sudo cut -d: -f1,2 /etc/shadow").splitlines()
    assert [line for line in passwords if line.split(":")[1][:1] not in {"*", "!"}] == []


def test_only_keys_are_accepted(guest: Guest, login: Login) -> None:
    offered = subprocess.run(
        [
            *(
                "ssh",
                "-v",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "BatchMode=yes",
            ),
            *("-o", "PubkeyAuthentication=no", f"admin@{guest.describe()['PublicIpAddress']}", "true"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert offered.returncode == 255
    assert "Permission denied (publickey)." in offered.stderr


def test_the_console_shows_the_host_key(guest: Guest, login: Login) -> None:
    scan = subprocess.run(
        ["ssh-keyscan", "-t", "ed25519", guest.describe()["PublicIpAddress"]], capture_output=True, check=True
    )
    listed = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=scan.stdout, capture_output=True, check=True)
    fingerprint = listed.stdout.decode().split()[1]

    def shown() -> str:
        _, _, rest = guest.console().partition("BEGIN SSH HOST KEY FINGERPRINTS")
        inside, end, _ = rest.partition("END SSH HOST KEY FINGERPRINTS")
        return inside if end else ""

    assert fingerprint in eventually(shown)


def test_the_file_system_fills_the_volume(login: Login) -> None:
    assert int(login.run("df -m --output=size / | tail -1")) > 5500


def test_names_are_resolved(guest: Guest, login: Login) -> None:
    seen = guest.describe()
    assert login.run(f"getent ahostsv4 {seen['PrivateDnsName']}").split()[0] == seen["PrivateIpAddress"]


def test_nothing_failed_at_boot(login: Login) -> None:
    assert login.run("systemctl --failed --no-legend --plain") == ""


def test_reboot(guest: Guest, login: Login) -> None:
    before = login.run("cat /proc/sys/kernel/random/boot_id; cat /etc/ssh/ssh_host_ed25519_key.pub").splitlines()
    login.try_run("sudo systemctl reboot --no-block")  # the connection may end before the command does
    eventually(lambda: login.try_run("cat /proc/sys/kernel/random/boot_id").stdout.strip() not in {"", before[0]}, 120)
    assert login.run("cat /etc/ssh/ssh_host_ed25519_key.pub; cat /var/lib/ran-by").splitlines() == [before[1], "root"]
    assert guest.state() == "running"
