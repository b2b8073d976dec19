"""A network of an owner's own with real guests: a public and a private subnet, NAT, peering, endpoints, IPv6, ACLs."""

from collections.abc import Callable, Iterator
from ipaddress import IPv6Network
from typing import Any

import pytest
from e2e_guests import Guest, Key, Launcher
from e2e_machine import Login, Machine, eventually

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

WEB = 8080
EVERYTHING = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]
# Says who asked, as a CGI program of busybox's httpd.
WHO = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo $REMOTE_ADDR | tr -d '[]' | sed s/::ffff://
"""


class Network:
    """A VPC and what is in it, removed in the end."""

    def __init__(self, ec2: Any, cidr: str, *, ipv6: bool = False) -> None:
        self.ec2 = ec2
        self.id: str = ec2.create_vpc(CidrBlock=cidr, AmazonProvidedIpv6CidrBlock=ipv6)["Vpc"]["VpcId"]
        self._undo: list[Callable[[], Any]] = [lambda: ec2.delete_vpc(VpcId=self.id)]
        self.group: str = ec2.describe_security_groups(Filters=self.here("group-name", "default"))["SecurityGroups"][0][
            "GroupId"
        ]
        ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=EVERYTHING)

    def here(self, name: str, value: str) -> list[dict[str, Any]]:
        """Filters: in this VPC, and one more."""
        return [{"Name": "vpc-id", "Values": [self.id]}, {"Name": name, "Values": [value]}]

    def ipv6(self, number: int) -> str:
        """The CIDR of its IPv6 subnet of that number."""
        vpc = self.ec2.describe_vpcs(VpcIds=[self.id])["Vpcs"][0]
        block = IPv6Network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
        return str(list(block.subnets(new_prefix=64))[number])

    def subnet(self, cidr: str, **more: Any) -> str:
        """A subnet with a route table of its own; routes are added with ``route``."""
        made = self.ec2.create_subnet(VpcId=self.id, CidrBlock=cidr, AvailabilityZone="us-east-1a", **more)
        subnet: str = made["Subnet"]["SubnetId"]
        table = self.ec2.create_route_table(VpcId=self.id)["RouteTable"]["RouteTableId"]
        association = self.ec2.associate_route_table(SubnetId=subnet, RouteTableId=table)["AssociationId"]
        self._undo += [
            lambda: self.ec2.delete_route_table(RouteTableId=table),
            lambda: self.ec2.delete_subnet(SubnetId=subnet),
            lambda: self.ec2.disassociate_route_table(AssociationId=association),
        ]
        return subnet

    def route(self, subnet: str, destination: str, **target: str) -> None:
        """A route of a subnet."""
        filters = self.here("association.subnet-id", subnet)
        table = self.ec2.describe_route_tables(Filters=filters)["RouteTables"][0]["RouteTableId"]
        name = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
        self.ec2.create_route(RouteTableId=table, **{name: destination}, **target)

    def internet(self) -> str:
        """An internet gateway."""
        gateway: str = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.id)
        self._undo += [
            lambda: self.ec2.delete_internet_gateway(InternetGatewayId=gateway),
            lambda: self.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=self.id),
        ]
        return gateway

    def nat(self, subnet: str) -> tuple[str, str]:
        """A public NAT gateway that works, and its address."""
        address = self.ec2.allocate_address(Domain="vpc")
        made = self.ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address["AllocationId"])
        nat: str = made["NatGateway"]["NatGatewayId"]
        self._undo += [
            lambda: self.ec2.release_address(AllocationId=address["AllocationId"]),
            lambda: self.ec2.get_waiter("nat_gateway_deleted").wait(
                NatGatewayIds=[nat], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
            ),
            lambda: self.ec2.delete_nat_gateway(NatGatewayId=nat),
        ]
        wait = {"Delay": 1, "MaxAttempts": 60}
        self.ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat], WaiterConfig=wait)
        return nat, address["PublicIp"]

    def endpoint(self, **wanted: Any) -> None:
        """A VPC endpoint that is available."""
        made = self.ec2.create_vpc_endpoint(VpcId=self.id, **wanted)["VpcEndpoint"]["VpcEndpointId"]

        def state() -> list[str]:
            found = self.ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-endpoint-id", "Values": [made]}])
            return [one["State"].lower() for one in found["VpcEndpoints"]]

        self._undo += [
            lambda: eventually(lambda: set(state()) <= {"deleted"}),
            lambda: self.ec2.delete_vpc_endpoints(VpcEndpointIds=[made]),
        ]
        eventually(lambda: state() == ["available"])

    def undo(self, step: Callable[[], Any]) -> None:
        """Something to do before what was made until now is removed."""
        self._undo.append(step)

    def remove(self) -> None:
        """Removes everything, the last first."""
        while self._undo:
            self._undo.pop()()


@pytest.fixture(scope="module")
def network(ec2: Any) -> Iterator[Network]:
    made = Network(ec2, "10.50.0.0/16", ipv6=True)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def other(ec2: Any) -> Iterator[Network]:
    """A second VPC, of another CIDR."""
    made = Network(ec2, "10.60.0.0/16")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def public(network: Network) -> str:
    subnet = network.subnet("10.50.1.0/24", Ipv6CidrBlock=network.ipv6(0))
    network.route(subnet, "0.0.0.0/0", GatewayId=network.internet())
    return subnet


@pytest.fixture(scope="module")
def private(network: Network, public: str) -> str:
    assert public
    return network.subnet("10.50.2.0/24", Ipv6CidrBlock=network.ipv6(1))


def placed(network: Network, subnet: str, *, open_to_all: bool = False, **more: Any) -> dict[str, Any]:
    """The parameters of a launch into a subnet."""
    nic = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [network.group], "AssociatePublicIpAddress": open_to_all}
    return {"NetworkInterfaces": [{**nic, **more}]}


@pytest.fixture(scope="module")
def launcher(
    ec2: Any, images: dict[str, str], key: Key, ssh_group: str, network: Network, other: Network
) -> Iterator[Launcher]:
    """Its guests go before the networks do."""
    assert network, other
    made = Launcher(ec2, images, key, ssh_group)
    yield made
    made.clean()


@pytest.fixture(scope="module")
def gate(launcher: Launcher, network: Network, public: str) -> Guest:
    """A guest with a public address."""
    return launcher(**placed(network, public, open_to_all=True, Ipv6AddressCount=1))[0]


@pytest.fixture(scope="module")
def inner(launcher: Launcher, network: Network, private: str) -> Guest:
    """A guest without one."""
    return launcher(**placed(network, private, Ipv6AddressCount=1))[0]


@pytest.fixture(scope="module")
def inside(gate: Guest, inner: Guest, key: Key) -> Login:
    """A login to the inner guest, by way of the gate."""
    way = gate.login()
    login = Login("ec2-user", inner.describe()["PrivateIpAddress"], key.path)
    through = " ".join([*way.argv[:-1], "-W", "%h:%p", way.argv[-1]])
    login.argv[1:1] = ["-o", f"ProxyCommand={through}"]
    return login.wait()


@pytest.fixture(scope="module")
def website(launcher: Launcher) -> str:
    """The public address of a guest of the default VPC that tells everybody from which address he asks."""
    (guest,) = launcher()
    login = guest.login()
    login.run(f"mkdir -p www/cgi-bin && cat >www/cgi-bin/who <<'END' && chmod 755 www/cgi-bin/who\n{WHO}END\n")
    login.run(f"httpd -p {WEB} -h www")
    return guest.describe()["PublicIpAddress"]


@pytest.fixture(scope="module")
def web_open(ec2: Any, ssh_group: str) -> None:
    rule = {"IpProtocol": "tcp", "FromPort": WEB, "ToPort": WEB, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=ssh_group, IpPermissions=[rule])


def fetch(login: Login, url: str) -> str:
    """What a guest gets from a URL; "" when nobody answers."""
    return login.try_run(f"timeout 5 wget -q -O - {url} 2>&1").stdout.strip()


def pings(login: Login, address: str) -> bool:
    program = "ping -6" if ":" in address else "ping"
    return login.try_run(f"sudo {program} -q -c 1 -W 2 {address}").returncode == 0


def ipv6_of(guest: Guest) -> str:
    """Its IPv6 address."""
    return guest.describe()["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"]


@pytest.mark.usefixtures("web_open")
def test_a_private_subnet_reaches_out_by_nat_alone(
    network: Network, public: str, private: str, inside: Login, gate: Guest, website: str
) -> None:
    who = f"http://{website}:{WEB}/cgi-bin/who"
    assert fetch(gate.login(), who) == gate.describe()["PublicIpAddress"]
    assert fetch(inside, who) == ""
    nat, address = network.nat(public)
    network.route(private, "0.0.0.0/0", NatGatewayId=nat)
    assert eventually(lambda: fetch(inside, who), 10) == address


def test_guests_speak_ipv6(gate: Guest, inner: Guest, inside: Login) -> None:
    assert eventually(lambda: pings(gate.login(), ipv6_of(inner)), 30)
    assert pings(inside, ipv6_of(gate))
    assert ipv6_of(inner) in inside.run("ip -6 addr show dev eth0")


def test_an_acl_is_stateless_and_stands_at_the_border(
    ec2: Any, network: Network, private: str, gate: Guest, inner: Guest, inside: Login
) -> None:
    address = inner.describe()["PrivateIpAddress"]
    way = gate.login()
    assert pings(way, address)
    assert inside
    filters = [{"Name": "association.subnet-id", "Values": [private]}]
    (acl,) = ec2.describe_network_acls(Filters=filters)["NetworkAcls"]
    entry = {"NetworkAclId": acl["NetworkAclId"], "RuleNumber": 50, "Egress": True}
    icmp = {"Protocol": "1", "IcmpTypeCode": {"Type": 0, "Code": -1}, "CidrBlock": "10.50.1.0/24"}
    ec2.create_network_acl_entry(**entry, **icmp, RuleAction="deny")
    eventually(lambda: not pings(way, address), 10)  # the answers are what is denied
    ec2.delete_network_acl_entry(**entry)
    eventually(lambda: pings(way, address), 10)


def test_peers_meet_and_strangers_do_not(
    ec2: Any, network: Network, other: Network, launcher: Launcher, private: str, inner: Guest, inside: Login
) -> None:
    subnet = other.subnet("10.60.1.0/24")
    (peer,) = launcher(**placed(other, subnet))
    address = peer.until("running")["PrivateIpAddress"]
    assert inner
    assert not pings(inside, address)
    wanted = {"VpcId": network.id, "PeerVpcId": other.id}
    peering = ec2.create_vpc_peering_connection(**wanted)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
    network.route(private, "10.60.0.0/16", VpcPeeringConnectionId=peering)
    assert not pings(inside, address)  # nobody there knows the way back
    other.route(subnet, "10.50.0.0/16", VpcPeeringConnectionId=peering)
    assert eventually(lambda: pings(inside, address), 60)
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering)
    eventually(lambda: not pings(inside, address), 10)


def test_a_guest_without_internet_reaches_the_api_by_an_endpoint(
    machine: Machine, ec2: Any, network: Network, launcher: Launcher, gate: Guest, key: Key
) -> None:
    subnet = network.subnet("10.50.3.0/24")
    (guest,) = launcher(**placed(network, subnet))
    way = gate.login()
    login = Login("ec2-user", guest.until("running")["PrivateIpAddress"], key.path)
    login.argv[1:1] = ["-o", f"ProxyCommand={' '.join([*way.argv[:-1], '-W', '%h:%p', way.argv[-1]])}"]
    login.wait()
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=network.id, **{attribute: {"Value": True}})
    url = f"http://ec2.us-east-1.amazonaws.com:{machine.port}/?Action=DescribeRegions"
    assert "HTTP" not in fetch(login, url)
    network.endpoint(
        VpcEndpointType="Interface",
        ServiceName="com.amazonaws.us-east-1.ec2",
        SubnetIds=[subnet],
        SecurityGroupIds=[network.group],
        PrivateDnsEnabled=True,
    )
    # It answers, and wants a signature: busybox's wget shows no more of an error than its line.
    assert "HTTP/1.1 4" in eventually(lambda: fetch(login, url), 60)
    bucket = f"http://s3.us-east-1.amazonaws.com:{machine.port}/no-such-bucket/key"
    assert "HTTP" not in fetch(login, bucket)
    filters = network.here("association.subnet-id", subnet)
    table = ec2.describe_route_tables(Filters=filters)["RouteTables"][0]["RouteTableId"]
    network.endpoint(ServiceName="com.amazonaws.us-east-1.s3", RouteTableIds=[table])
    assert "HTTP/1.1 4" in eventually(lambda: fetch(login, bucket), 60)
