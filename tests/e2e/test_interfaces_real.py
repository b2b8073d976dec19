"""Interfaces of real guests: plugged into them while they run, with several addresses, moved from one to another."""

from collections.abc import Iterator
from ipaddress import IPv6Network
from typing import Any

import pytest
from e2e_guests import Guest, Launcher
from e2e_machine import eventually

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]


class Addresses:
    """What a test makes beside guests, and takes away again."""

    def __init__(self, ec2: Any, group: str) -> None:
        self._ec2 = ec2
        self._group = group
        self._interfaces: list[str] = []
        self._elastic: list[str] = []

    def interface(self, beside: Guest, **parameters: Any) -> Any:
        """A new interface in a guest's subnet."""
        subnet = beside.describe()["SubnetId"]
        made = self._ec2.create_network_interface(SubnetId=subnet, Groups=[self._group], **parameters)
        self._interfaces.append(made["NetworkInterface"]["NetworkInterfaceId"])
        return made["NetworkInterface"]

    def elastic(self, interface: Any, private: str | None = None) -> str:
        """A new Elastic IP for an interface's address."""
        made = self._ec2.allocate_address(Domain="vpc")
        self._elastic.append(made["AllocationId"])
        self._ec2.associate_address(
            AllocationId=made["AllocationId"],
            NetworkInterfaceId=interface["NetworkInterfaceId"],
            PrivateIpAddress=private or interface["PrivateIpAddress"],
        )
        return made["PublicIp"]

    def attach(self, interface: Any, guest: Guest, index: int = 1) -> str:
        """Plugs it in, waits until that is done, and gives the attachment's id."""
        name = interface["NetworkInterfaceId"]
        answer = self._ec2.attach_network_interface(NetworkInterfaceId=name, InstanceId=guest.id, DeviceIndex=index)
        eventually(lambda: self._attachment(name).get("Status") == "attached")
        return answer["AttachmentId"]

    def detach(self, interface: Any, attachment: str) -> None:
        """Unplugs it, and waits until that is done."""
        self._ec2.detach_network_interface(AttachmentId=attachment)
        eventually(lambda: not self._attachment(interface["NetworkInterfaceId"]))

    def clean(self) -> None:
        for name in self._interfaces:
            if attachment := self._attachment(name).get("AttachmentId"):
                self._ec2.detach_network_interface(AttachmentId=attachment, Force=True)
                eventually(lambda name=name: not self._attachment(name))
        for name in self._elastic:
            for found in self._ec2.describe_addresses(AllocationIds=[name])["Addresses"]:
                if "AssociationId" in found:
                    self._ec2.disassociate_address(AssociationId=found["AssociationId"])
            self._ec2.release_address(AllocationId=name)
        for name in self._interfaces:
            self._ec2.delete_network_interface(NetworkInterfaceId=name)

    def _attachment(self, name: str) -> Any:
        (found,) = self._ec2.describe_network_interfaces(NetworkInterfaceIds=[name])["NetworkInterfaces"]
        return found.get("Attachment", {})


@pytest.fixture
def addresses(ec2: Any, ssh_group: str) -> Iterator[Addresses]:
    made = Addresses(ec2, ssh_group)
    yield made
    made.clean()


def macs(guest: Guest, address: str | None = None) -> list[str]:
    return guest.login(address).run("cat /sys/class/net/eth*/address").split()


@pytest.mark.parametrize("family", ["tiny", "debian-12"])
def test_an_interface_is_plugged_in_reached_and_taken_away(family: str, launch: Launcher, addresses: Addresses) -> None:
    (guest,) = launch(family)
    login = guest.login()
    (first,) = macs(guest)
    interface = addresses.interface(guest)
    public = addresses.elastic(interface)
    for _ in range(2):
        attachment = addresses.attach(interface, guest)
        second = guest.login(public)
        assert macs(guest) == [first, interface["MacAddress"]]
        # Over each address, the answers come from that one: the guest routes by source.
        assert second.run("echo $SSH_CONNECTION").split()[2] == interface["PrivateIpAddress"]
        assert login.run("echo $SSH_CONNECTION").split()[2] == guest.describe()["PrivateIpAddress"]
        addresses.detach(interface, attachment)
        eventually(lambda: macs(guest) == [first])
        eventually(lambda: "lookup 1001" not in login.run("ip rule"))


def test_addresses_come_and_go_while_the_guest_runs(ec2: Any, launch: Launcher, addresses: Addresses) -> None:
    (guest,) = launch()
    guest.login()
    (interface,) = guest.describe()["NetworkInterfaces"]
    name = interface["NetworkInterfaceId"]
    assigned = ec2.assign_private_ip_addresses(NetworkInterfaceId=name, SecondaryPrivateIpAddressCount=1)
    (second,) = [one["PrivateIpAddress"] for one in assigned["AssignedPrivateIpAddresses"]]
    public = addresses.elastic(interface, second)
    assert guest.login(public).run("echo $SSH_CONNECTION").split()[2] == second
    path = f"meta-data/network/interfaces/macs/{interface['MacAddress']}/local-ipv4s"
    told = guest.login().run(f"ec2-metadata {path}").split()
    assert told == [interface["PrivateIpAddress"], second]
    (found,) = ec2.describe_addresses(PublicIps=[public])["Addresses"]
    ec2.disassociate_address(AssociationId=found["AssociationId"])
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=name, PrivateIpAddresses=[second])
    eventually(lambda: second not in guest.login().run("ip -4 address show dev eth0"))


def test_an_interface_moves_to_another_guest_with_all_it_has(ec2: Any, launch: Launcher, addresses: Addresses) -> None:
    one, two = launch("tiny", 2)
    interface = addresses.interface(one, SecondaryPrivateIpAddressCount=1)
    private = [each["PrivateIpAddress"] for each in interface["PrivateIpAddresses"]]
    publics = [addresses.elastic(interface, address) for address in private]
    for guest in (one, two):
        guest.login()
        attachment = addresses.attach(interface, guest)
        for public, address in zip(publics, private, strict=True):
            login = guest.login(public)
            assert login.run("echo $SSH_CONNECTION").split()[2] == address
            assert login.run("ec2-metadata meta-data/instance-id") == guest.id
        assert macs(guest)[1] == interface["MacAddress"]
        addresses.detach(interface, attachment)


def test_a_guest_that_starts_with_two_interfaces_has_both(ec2: Any, launch: Launcher, addresses: Addresses) -> None:
    (guest,) = launch()
    guest.login()
    interface = addresses.interface(guest)
    public = addresses.elastic(interface)
    addresses.attach(interface, guest, 2)
    guest.login(public)
    ec2.stop_instances(InstanceIds=[guest.id])
    guest.until("stopped")
    ec2.start_instances(InstanceIds=[guest.id])
    guest.until("running")
    assert guest.login(public).run("cat /sys/class/net/eth1/address") == interface["MacAddress"]
    # EC2 gives no new public address to an instance that starts with several interfaces; an Elastic IP makes up for it.
    seen = guest.describe()
    assert "PublicIpAddress" not in seen
    (primary,) = [one for one in seen["NetworkInterfaces"] if one["Attachment"]["DeviceIndex"] == 0]
    assert len(macs(guest, addresses.elastic(primary))) == 2


@pytest.fixture
def ipv6_group(ec2: Any) -> Iterator[str]:
    """A group that lets SSH in over IPv6; the default VPC and its first subnets have addresses of that kind meanwhile."""
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    made = ec2.associate_vpc_cidr_block(VpcId=vpc["VpcId"], AmazonProvidedIpv6CidrBlock=True)
    whole = made["Ipv6CidrBlockAssociation"]["AssociationId"]
    (vpc,) = ec2.describe_vpcs(VpcIds=[vpc["VpcId"]])["Vpcs"]
    block = vpc["Ipv6CidrBlockAssociationSet"][-1]["Ipv6CidrBlock"]
    parts: list[str] = []
    for number, subnet in enumerate(
        ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
    ):
        cidr = str(list(IPv6Network(block).subnets(new_prefix=64))[number])
        part = ec2.associate_subnet_cidr_block(SubnetId=subnet["SubnetId"], Ipv6CidrBlock=cidr)
        parts.append(part["Ipv6CidrBlockAssociation"]["AssociationId"])
    group = ec2.create_security_group(GroupName="e2e-v6", Description="SSH over IPv6")["GroupId"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh])
    yield group
    ec2.delete_security_group(GroupId=group)
    for part in parts:
        ec2.disassociate_subnet_cidr_block(AssociationId=part)
    ec2.disassociate_vpc_cidr_block(AssociationId=whole)


def test_guests_have_ipv6_from_the_start_or_later(ec2: Any, ipv6_group: str, ssh_group: str, launch: Launcher) -> None:
    groups = [ssh_group, ipv6_group]
    (one,) = launch("tiny", Ipv6AddressCount=1, SecurityGroupIds=groups)
    (two,) = launch("debian-12", SecurityGroupIds=groups)
    login = one.login()
    two.login()
    (interface,) = two.describe()["NetworkInterfaces"]
    name = interface["NetworkInterfaceId"]
    (later,) = ec2.assign_ipv6_addresses(NetworkInterfaceId=name, Ipv6AddressCount=1)["AssignedIpv6Addresses"]
    eventually(lambda: login.try_run(f"nc -w 5 {later} 22 </dev/null | head -c 4").stdout == "SSH-")
    first = one.describe()["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"]
    asked = f"timeout 5 bash -c 'head -c 4 </dev/tcp/{first}/22'"
    assert two.login().run(asked) == "SSH-"
    ec2.unassign_ipv6_addresses(NetworkInterfaceId=name, Ipv6Addresses=[later])
    eventually(lambda: later not in two.login().run("ip -6 address"))
