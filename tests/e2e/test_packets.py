"""Elastic IPs, security groups and names, shown by connections: from outside, and between guests of one subnet."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError
from e2e_guests import Guest, Launcher
from e2e_machine import Login, Machine, eventually

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

WEB = 8080


def tcp(port: int, **source: Any) -> dict[str, Any]:
    """A rule for one TCP port: from everywhere, unless it says something else."""
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **(source or EVERYWHERE)}


EVERYWHERE = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.fixture(scope="module")
def pair(shared_launch: Launcher) -> list[Guest]:
    """Two guests in one subnet, each with a web server that says which one it is."""
    guests = shared_launch("tiny", 2)
    for guest in guests:
        guest.login().run(f"mkdir www && echo {guest.id} >www/index.html && httpd -p {WEB} -h www")
    return guests


@pytest.fixture
def web_group(ec2: Any) -> Iterator[str]:
    """A group without rules for what comes in."""
    group = ec2.create_security_group(GroupName="e2e-web", Description="The web server")["GroupId"]
    yield group
    ec2.delete_security_group(GroupId=group)


@contextmanager
def groups_of(ec2: Any, guest: Guest, *groups: str) -> Iterator[None]:
    """Gives a guest other groups, for a while."""
    before = [group["GroupId"] for group in guest.describe()["SecurityGroups"]]
    ec2.modify_instance_attribute(InstanceId=guest.id, Groups=list(groups))
    try:
        yield
    finally:
        ec2.modify_instance_attribute(InstanceId=guest.id, Groups=before)


def fetch(address: str) -> str:
    """What the web server says to us outside; "" when nobody answers within a second."""
    url = f"http://{address}:{WEB}/"
    done = subprocess.run(
        ["curl", "--silent", "--max-time", "1", "--noproxy", "*", url], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def fetch_from(login: Login, address: str) -> str:
    """The same from inside a guest. Debian's static busybox crashes when its wget shall keep the time itself."""
    return login.try_run(f"timeout 2 wget -q -O - http://{address}:{WEB}/").stdout.strip()


def test_a_group_opens_and_closes_a_port_from_outside(
    machine: Machine, ec2: Any, pair: list[Guest], ssh_group: str, web_group: str
) -> None:
    guest, other = pair
    address = guest.describe()["PublicIpAddress"]
    assert fetch(address) == ""
    with groups_of(ec2, guest, ssh_group, web_group):
        rule = ("--group-id", web_group, "--protocol", "tcp", "--port", str(WEB), "--cidr", "0.0.0.0/0")
        machine.aws("ec2", "authorize-security-group-ingress", *rule)
        assert eventually(lambda: fetch(address)) == guest.id
        assert fetch(other.describe()["PublicIpAddress"]) == ""
        machine.aws("ec2", "revoke-security-group-ingress", *rule)
        eventually(lambda: not fetch(address))
        from_elsewhere = [tcp(WEB, IpRanges=[{"CidrIp": "198.51.100.0/24"}])]
        ec2.authorize_security_group_ingress(GroupId=web_group, IpPermissions=from_elsewhere)
        time.sleep(1)
        assert fetch(address) == ""


def test_a_group_opens_and_closes_a_port_within_a_subnet(
    ec2: Any, pair: list[Guest], ssh_group: str, web_group: str
) -> None:
    guest, other = pair
    seen, login = guest.describe(), other.login()
    private = seen["PrivateIpAddress"]
    assert seen["SubnetId"] == other.describe()["SubnetId"]
    assert fetch_from(login, private) == ""
    rules = [tcp(WEB, IpRanges=[{"CidrIp": f"{other.describe()['PrivateIpAddress']}/32"}])]
    with groups_of(ec2, guest, ssh_group, web_group):
        ec2.authorize_security_group_ingress(GroupId=web_group, IpPermissions=rules)
        assert eventually(lambda: fetch_from(login, private)) == guest.id
        assert fetch(seen["PublicIpAddress"]) == ""
        ec2.revoke_security_group_ingress(GroupId=web_group, IpPermissions=rules)
        eventually(lambda: not fetch_from(login, private))


def test_a_group_may_refer_to_a_group(ec2: Any, pair: list[Guest], ssh_group: str, web_group: str) -> None:
    """Only who is in the group itself gets in, from the moment when it joins until it leaves."""
    guest, other = pair
    private, login = guest.describe()["PrivateIpAddress"], other.login()
    rules = [tcp(WEB, UserIdGroupPairs=[{"GroupId": web_group}])]
    ec2.authorize_security_group_ingress(GroupId=web_group, IpPermissions=rules)
    with groups_of(ec2, guest, ssh_group, web_group):
        assert fetch_from(login, private) == ""
        with groups_of(ec2, other, ssh_group, web_group):
            assert eventually(lambda: fetch_from(login, private)) == guest.id
        eventually(lambda: not fetch_from(login, private))


def test_egress_rules_hold_a_guest_back(ec2: Any, pair: list[Guest], ssh_group: str, web_group: str) -> None:
    guest, other = pair
    private, login = guest.describe()["PrivateIpAddress"], other.login()
    everything = [{"IpProtocol": "-1", **EVERYWHERE}]
    ec2.authorize_security_group_ingress(GroupId=web_group, IpPermissions=[tcp(22), tcp(WEB)])
    with groups_of(ec2, guest, ssh_group, web_group), groups_of(ec2, other, web_group):
        assert eventually(lambda: fetch_from(login, private)) == guest.id
        ec2.revoke_security_group_egress(GroupId=web_group, IpPermissions=everything)
        # New logins work meanwhile: their answers belong to a tracked connection.
        eventually(lambda: not fetch_from(login, private) and login.try_run("true").returncode == 0)
        ec2.authorize_security_group_egress(GroupId=web_group, IpPermissions=[tcp(WEB)])
        assert eventually(lambda: fetch_from(login, private)) == guest.id


def test_an_elastic_ip_moves_between_running_guests(
    machine: Machine, ec2: Any, pair: list[Guest], ssh_group: str, web_group: str
) -> None:
    ec2.authorize_security_group_ingress(GroupId=web_group, IpPermissions=[tcp(WEB)])
    before = [guest.describe()["PublicIpAddress"] for guest in pair]
    address = machine.aws("ec2", "allocate-address")
    with groups_of(ec2, pair[0], ssh_group, web_group), groups_of(ec2, pair[1], ssh_group, web_group):
        assert fetch(address["PublicIp"]) == ""
        with Knocking(address["PublicIp"]) as heard:
            for guest in pair:
                move = ("--instance-id", guest.id, "--allocation-id", address["AllocationId"])
                machine.aws("ec2", "associate-address", *move)
                eventually(lambda: heard.answers[-1:] == [guest.id], 20)  # noqa: B023 - asked at once
                assert guest.describe()["PublicIpAddress"] == address["PublicIp"]
                shown = guest.login(address["PublicIp"]).run("ec2-metadata meta-data/public-ipv4")
                assert shown == address["PublicIp"]
        # Each answer came from the one that had the address, and never again from the one that had lost it.
        assert list(dict.fromkeys(heard.answers)) == [pair[0].id, pair[1].id]
        assert heard.answers == sorted(heard.answers, key=[guest.id for guest in pair].index)
        ec2.disassociate_address(AssociationId=association(ec2, address["AllocationId"]))
        eventually(lambda: not fetch(address["PublicIp"]))
        machine.aws("ec2", "release-address", "--allocation-id", address["AllocationId"])
        # Who gave up an Elastic IP has a new public address again, and answers there.
        for guest, old in zip(pair, before, strict=True):
            now = eventually(lambda: guest.describe().get("PublicIpAddress"))  # noqa: B023 - asked at once
            assert now != address["PublicIp"]
            assert eventually(lambda: fetch(now)) == guest.id, (now, old)  # noqa: B023 - asked at once


class Knocking:
    """Asks an address again and again; ``answers`` are those that came, in order."""

    def __init__(self, address: str) -> None:
        self.answers: list[str] = []
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._knock)

    def __enter__(self) -> "Knocking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _knock(self) -> None:
        while not self._over.wait(0.05):
            answer = fetch(self._address)
            if answer:
                self.answers.append(answer)


def association(ec2: Any, allocation_id: str) -> str:
    """The id of an Elastic IP's association."""
    return ec2.describe_addresses(AllocationIds=[allocation_id])["Addresses"][0]["AssociationId"]


def test_names_in_the_vpc_are_private_addresses(pair: list[Guest]) -> None:
    guest, other = pair[0].describe(), pair[1].describe()
    login = pair[0].login()
    for name in (other["PrivateDnsName"], other["PublicDnsName"]):
        assert f"Address: {other['PrivateIpAddress']}" in login.run(f"nslookup -type=a {name}")
    assert other["PrivateDnsName"] in login.run(f"nslookup {other['PrivateIpAddress']}")
    assert guest["PrivateDnsName"].split(".")[0] == login.run("hostname")
    assert login.try_run("nslookup -type=a example.com").returncode != 0


def test_a_guest_with_two_interfaces(
    ec2: Any, web_group: str, launch: Launcher, pair: list[Guest], ssh_group: str
) -> None:
    """Each has its own address and its own groups. It has no public address by itself, as on EC2."""
    subnet = pair[0].describe()["SubnetId"]
    guest = launch(
        "tiny",
        InstanceType="t3.small",
        NetworkInterfaces=[
            {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [ssh_group]},
            {"DeviceIndex": 1, "SubnetId": subnet, "Groups": [web_group]},
        ],
    )[0]
    first, second = sorted(guest.describe()["NetworkInterfaces"], key=lambda one: one["Attachment"]["DeviceIndex"])
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=first["NetworkInterfaceId"])
    login = guest.login(address["PublicIp"])
    listed = login.run("ip -4 -oneline address show")
    assert f"eth0    inet {first['PrivateIpAddress']}/" in listed
    assert f"eth1    inet {second['PrivateIpAddress']}/" in listed
    login.run(f"mkdir www && echo two >www/index.html && httpd -p {WEB} -h www")
    # Two interfaces in one subnet: an answer must leave by the one that has its address, or it counts as spoofed.
    login.run(
        "gateway=$(ip route | awk '/^default/ {print $3}') && sudo ip route add default via $gateway dev eth1 table 2"
    )
    login.run(f"sudo ip rule add from {second['PrivateIpAddress']} table 2")
    ec2.authorize_security_group_ingress(GroupId=web_group, IpPermissions=[tcp(WEB)])
    neighbour = pair[0].login()
    assert eventually(lambda: fetch_from(neighbour, second["PrivateIpAddress"])) == "two"
    assert fetch_from(neighbour, first["PrivateIpAddress"]) == ""
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=web_group)
    ec2.disassociate_address(AssociationId=association(ec2, address["AllocationId"]))
    ec2.release_address(AllocationId=address["AllocationId"])
