"""What hosts are told of routing: it follows every change, pushed bit by bit as well as computed anew."""

import pytest

from pileus.base.config import s3_address
from pileus.controllers import routing
from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Reading
from pileus.controllers.spec_book import SpecBook
from pileus.testing.in_process import HOST, DirectCloud


class Host:
    """A host that remembers what was pushed to it last."""

    host_id = HOST

    def __init__(self):
        self.spec = None

    async def send_spec(self, spec):
        self.spec = spec


class Site:
    """A VPC with one instance in a subnet with a route table of its own, and the host that it is on."""

    def __init__(self, cloud):
        self.cloud, self.host = cloud, Host()
        self.book = SpecBook(cloud.store, cloud.config)

    async def build(self):
        await self.book.open(self.host)
        self.vpc = (await self("CreateVpc", CidrBlock="10.0.0.0/16"))["Vpc"]["VpcId"]
        self.subnet = await self.make_subnet("10.0.0.0/24")
        self.table = (await self("CreateRouteTable", VpcId=self.vpc))["RouteTable"]["RouteTableId"]
        await self("AssociateRouteTable", RouteTableId=self.table, SubnetId=self.subnet)
        await self.launch(self.subnet)
        return self

    async def __call__(self, operation, **params):
        """Performs a call, lets the controllers settle and the host hear of it."""
        result = await self.cloud.call("ec2", operation, **params)
        now = self.cloud.clock.now()
        while routing.unsettled(self.cloud.store.view(), now):
            self.cloud.store.transact(lambda tx: routing.settle(tx, now))
        await self.book.follow()
        spec = self.host.spec
        assert spec == host_spec(Reading(self.cloud.store.view()), HOST, self.cloud.config, spec.revision)
        return result

    async def make_subnet(self, cidr, vpc=None):
        made = await self("CreateSubnet", VpcId=vpc or self.vpc, CidrBlock=cidr, AvailabilityZone="us-east-1a")
        return made["Subnet"]["SubnetId"]

    async def launch(self, subnet):
        image = self.cloud.add_image(name=f"for-{subnet}").id
        launched = await self(
            "RunInstances", ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1, SubnetId=subnet
        )
        return launched["Instances"][0]["InstanceId"]

    async def route(self, destination, operation="CreateRoute", **target):
        await self(operation, RouteTableId=self.table, DestinationCidrBlock=destination, **target)

    @property
    def told(self):
        """The VPC as the host has it."""
        return next(vpc for vpc in self.host.spec.network.vpcs if vpc.vpc_id == self.vpc)

    def routes(self):
        """(kind, target) by destination in the subnet's table."""
        name = next(one.route_table for one in self.told.subnets if one.subnet_id == self.subnet)
        table = next(one for one in self.told.route_tables if one.route_table_id == name)
        return {one.destination: (one.kind, one.target) for one in table.routes}


@pytest.fixture
async def site(tmp_path):
    cloud = DirectCloud.open(tmp_path)
    yield await Site(cloud).build()
    cloud.close()


LOCAL = {"10.0.0.0/16": ("local", "")}


async def test_local_routes_follow_the_vpc(site):
    assert site.routes() == LOCAL
    more = await site("AssociateVpcCidrBlock", VpcId=site.vpc, CidrBlock="10.9.0.0/16")
    assert site.routes() == {**LOCAL, "10.9.0.0/16": ("local", "")}
    await site("DisassociateVpcCidrBlock", AssociationId=more["CidrBlockAssociation"]["AssociationId"])
    assert site.routes() == LOCAL


async def test_an_internet_gateway(site):
    gateway = (await site("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
    attachment = {"InternetGatewayId": gateway, "VpcId": site.vpc}
    await site("AttachInternetGateway", **attachment)
    await site.route("0.0.0.0/0", GatewayId=gateway)
    assert (site.told.internet, site.routes()["0.0.0.0/0"]) == (True, ("internet", gateway))
    await site("DetachInternetGateway", **attachment)
    assert (site.told.internet, site.routes()["0.0.0.0/0"]) == (False, ("blackhole", gateway))
    await site.route("0.0.0.0/0", "DeleteRoute")
    assert site.routes() == LOCAL


async def test_a_nat_gateway(site):
    gateway = (await site("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
    await site("AttachInternetGateway", InternetGatewayId=gateway, VpcId=site.vpc)
    outside = await site.make_subnet("10.0.1.0/24")
    address = await site("AllocateAddress")
    made = await site("CreateNatGateway", SubnetId=outside, AllocationId=address["AllocationId"])
    nat = made["NatGateway"]["NatGatewayId"]
    await site.route("0.0.0.0/0", NatGatewayId=nat)
    assert site.routes()["0.0.0.0/0"] == ("nat", nat)
    (told,) = site.told.nat_gateways
    interface = next(one for one in site.told.interfaces if one.interface_id == told.interface_id)
    assert (interface.kind, interface.groups, interface.source_dest_check) == ("nat", (), False)
    assert [one.public for one in interface.addresses] == [address["PublicIp"]]
    assert {one.subnet_id for one in site.told.subnets} == {site.subnet, outside}
    await site("DeleteNatGateway", NatGatewayId=nat)
    assert site.routes()["0.0.0.0/0"] == ("blackhole", nat)
    assert (site.told.nat_gateways, len(site.told.interfaces)) == ((), 1)


async def test_a_peering(site):
    other = (await site("CreateVpc", CidrBlock="10.1.0.0/16"))["Vpc"]["VpcId"]
    await site.launch(await site.make_subnet("10.1.0.0/24", other))
    asked = await site("CreateVpcPeeringConnection", VpcId=site.vpc, PeerVpcId=other)
    peering = asked["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    await site.route("10.1.0.0/16", VpcPeeringConnectionId=peering)
    assert (site.routes()["10.1.0.0/16"], site.host.spec.network.peerings) == (("blackhole", peering), ())
    await site("AcceptVpcPeeringConnection", VpcPeeringConnectionId=peering)
    assert site.routes()["10.1.0.0/16"] == ("peering", peering)
    (told,) = site.host.spec.network.peerings
    assert (told.requester, told.accepter) == (site.vpc, other)
    await site("DeleteVpcPeeringConnection", VpcPeeringConnectionId=peering)
    assert (site.routes()["10.1.0.0/16"], site.host.spec.network.peerings) == (("blackhole", peering), ())


async def test_a_gateway_endpoint(site):
    address = s3_address(site.cloud.config.regions[0])
    made = await site(
        "CreateVpcEndpoint", VpcId=site.vpc, ServiceName="com.amazonaws.us-east-1.s3", RouteTableIds=[site.table]
    )
    endpoint = made["VpcEndpoint"]["VpcEndpointId"]
    assert site.routes() == {**LOCAL, f"{address}/32": ("endpoint", endpoint)}
    await site("DeleteVpcEndpoints", VpcEndpointIds=[endpoint])
    assert site.routes() == LOCAL


async def test_an_interface_endpoint(site):
    await site("ModifyVpcAttribute", VpcId=site.vpc, EnableDnsHostnames={"Value": True})
    name = "ec2.us-east-1.amazonaws.com"
    before = hosts(site)[name]
    made = await site(
        "CreateVpcEndpoint",
        VpcId=site.vpc,
        ServiceName="com.amazonaws.us-east-1.ec2",
        VpcEndpointType="Interface",
        SubnetIds=[site.subnet],
    )
    endpoint = made["VpcEndpoint"]
    (told,) = site.told.endpoints
    interface = next(one for one in site.told.interfaces if one.kind == "endpoint")
    assert (told.service, told.interfaces) == ("api", (interface.interface_id,))
    for one in (name, endpoint["DnsEntries"][0]["DnsName"], endpoint["DnsEntries"][1]["DnsName"]):
        assert hosts(site)[one] == (interface.private_address,), one
    await site("ModifyVpcEndpoint", VpcEndpointId=endpoint["VpcEndpointId"], PrivateDnsEnabled=False)
    assert hosts(site)[name] == before
    await site("DeleteVpcEndpoints", VpcEndpointIds=[endpoint["VpcEndpointId"]])
    assert (site.told.endpoints, len(site.told.interfaces)) == ((), 1)


def hosts(site):
    return {entry.name: entry.addresses for entry in site.told.hosts}


async def test_prefix_lists_are_spelled_out(site):
    made = await site(
        "CreateManagedPrefixList",
        PrefixListName="offices",
        AddressFamily="IPv4",
        MaxEntries=3,
        Entries=[{"Cidr": "192.0.2.0/24"}, {"Cidr": "198.51.100.0/24"}],
    )
    offices = made["PrefixList"]["PrefixListId"]
    gateway = (await site("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
    await site("AttachInternetGateway", InternetGatewayId=gateway, VpcId=site.vpc)
    await site("CreateRoute", RouteTableId=site.table, DestinationPrefixListId=offices, GatewayId=gateway)
    leads = ("internet", gateway)
    assert site.routes() == {**LOCAL, "192.0.2.0/24": leads, "198.51.100.0/24": leads}
    gone = [{"Cidr": "192.0.2.0/24"}]
    await site("ModifyManagedPrefixList", PrefixListId=offices, CurrentVersion=1, RemoveEntries=gone)
    assert site.routes() == {**LOCAL, "198.51.100.0/24": leads}
