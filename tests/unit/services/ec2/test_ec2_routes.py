"""Routes: where they may lead, which rules hold for them, and when they are black holes."""

import pytest
from routing_lab import Lab, settle

from pileus.records.instance import State


@pytest.fixture
async def lab(cloud):
    return await Lab.make(cloud)


@pytest.fixture
async def table(lab):
    return await lab.table()


@pytest.fixture
def add(lab, table):
    """``await add("0.0.0.0/0", GatewayId=…)``: a route, IPv4 or IPv6 or of a prefix list."""

    async def create(destination, **target):
        await lab.call("CreateRoute", RouteTableId=table, **named(destination), **target)

    return create


@pytest.fixture
def refuse(lab, table):
    async def code(destination, operation="CreateRoute", **target):
        before = await lab.routes(table)
        error = await lab.refused(operation, RouteTableId=table, **named(destination), **target)
        assert await lab.routes(table) == before
        return error

    return code


def named(destination):
    if destination.startswith("pl-"):
        return {"DestinationPrefixListId": destination}
    return {"DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock": destination}


async def test_to_an_internet_gateway(lab, table, add):
    gateway = await lab.gateway()
    await add("0.0.0.0/0", GatewayId=gateway)
    await add("::/0", GatewayId=gateway)
    routes = await lab.routes(table)
    assert (routes["0.0.0.0/0"], routes["::/0"]) == ((gateway, "active"), (gateway, "active"))
    await lab.call("DetachInternetGateway", InternetGatewayId=gateway, VpcId=lab.vpc_id)
    assert (await lab.routes(table))["0.0.0.0/0"] == (gateway, "blackhole")
    await lab.call("DeleteInternetGateway", InternetGatewayId=gateway)
    assert (await lab.routes(table))["::/0"] == (gateway, "blackhole")


async def test_to_an_egress_only_gateway(lab, table, add, refuse):
    made = await lab.call("CreateEgressOnlyInternetGateway", VpcId=lab.vpc_id)
    gateway = made["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]
    await add("::/0", EgressOnlyInternetGatewayId=gateway)
    assert (await lab.routes(table))["::/0"] == (gateway, "active")
    assert await refuse("0.0.0.0/0", EgressOnlyInternetGatewayId=gateway) == "InvalidParameterValue"
    await lab.call("DeleteEgressOnlyInternetGateway", EgressOnlyInternetGatewayId=gateway)
    assert (await lab.routes(table))["::/0"] == (gateway, "blackhole")


async def test_to_a_nat_gateway(cloud, lab, table, add, refuse):
    nat = await lab.nat(await lab.subnet())
    await add("0.0.0.0/0", NatGatewayId=nat)
    assert (await lab.routes(table))["0.0.0.0/0"] == (nat, "active")
    await lab.call("DeleteNatGateway", NatGatewayId=nat)
    assert (await lab.routes(table))["0.0.0.0/0"] == (nat, "blackhole")
    settle(cloud)
    assert await refuse("192.0.2.0/24", NatGatewayId=nat) == "InvalidNatGatewayID.NotFound"


async def test_to_an_interface_and_an_instance(cloud, lab, table, add, refuse, launch):
    subnet = await lab.subnet()
    interface = await lab.interface(subnet)
    await add("192.0.2.0/24", NetworkInterfaceId=interface)
    assert (await lab.routes(table))["192.0.2.0/24"] == (interface, "blackhole")
    instance = await launch(SubnetId=subnet)
    own = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    await add("0.0.0.0/0", InstanceId=instance["InstanceId"])
    (found,) = (await lab.call("DescribeRouteTables", RouteTableIds=[table]))["RouteTables"]
    assert found["Routes"][-1] == {
        "DestinationCidrBlock": "0.0.0.0/0",
        "NetworkInterfaceId": own,
        "InstanceId": instance["InstanceId"],
        "InstanceOwnerId": cloud.account,
        "Origin": "CreateRoute",
        "State": "active",
    }
    by_instance = [{"Name": "route.instance-id", "Values": [instance["InstanceId"]]}]
    assert len((await lab.call("DescribeRouteTables", Filters=by_instance))["RouteTables"]) == 1
    cloud.enter(instance["InstanceId"], State.RUNNING)
    await lab.call(
        "AttachNetworkInterface", NetworkInterfaceId=interface, InstanceId=instance["InstanceId"], DeviceIndex=1
    )
    assert (await lab.routes(table))["192.0.2.0/24"] == (interface, "active")
    assert await refuse("198.51.100.0/24", InstanceId=instance["InstanceId"]) == "InvalidInstanceID"


async def test_a_stopped_instance_takes_nothing(cloud, lab, table, add, launch):
    instance = await launch(SubnetId=await lab.subnet())
    own, id_ = instance["NetworkInterfaces"][0]["NetworkInterfaceId"], instance["InstanceId"]
    await add("0.0.0.0/0", InstanceId=id_)
    for state, told in (
        (State.RUNNING, "active"),
        (State.STOPPING, "active"),
        (State.STOPPED, "blackhole"),
        (State.PENDING, "active"),
    ):
        cloud.enter(id_, state)
        assert (await lab.routes(table))["0.0.0.0/0"] == (own, told), state


async def test_to_a_peering(cloud, lab, table, add, refuse):
    other = await Lab.make(cloud, "10.1.0.0/16")
    asked = await lab.call("CreateVpcPeeringConnection", VpcId=lab.vpc_id, PeerVpcId=other.vpc_id)
    peering = asked["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    await add("10.1.0.0/16", VpcPeeringConnectionId=peering)
    assert (await lab.routes(table))["10.1.0.0/16"] == (peering, "blackhole")
    await lab.call("AcceptVpcPeeringConnection", VpcPeeringConnectionId=peering)
    assert (await lab.routes(table))["10.1.0.0/16"] == (peering, "active")
    third = await Lab.make(cloud, "10.2.0.0/16")
    code = await lab.refused(
        "CreateRoute",
        RouteTableId=await third.table(),
        DestinationCidrBlock="10.1.0.0/16",
        VpcPeeringConnectionId=peering,
    )
    assert code == "InvalidParameterValue"
    await lab.call("DeleteVpcPeeringConnection", VpcPeeringConnectionId=peering)
    assert (await lab.routes(table))["10.1.0.0/16"] == (peering, "blackhole")
    assert await refuse("10.3.0.0/16", VpcPeeringConnectionId=peering) == "InvalidVpcPeeringConnectionID.NotFound"


async def test_to_a_peering_of_another_account_and_region(cloud, lab, table, add):
    far = await Lab.make(cloud.of("000000000002").within("eu-central-1"), "10.1.0.0/16")
    there = {"PeerOwnerId": "000000000002", "PeerRegion": "eu-central-1"}
    asked = await lab.call("CreateVpcPeeringConnection", VpcId=lab.vpc_id, PeerVpcId=far.vpc_id, **there)
    peering = asked["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    await far.call("AcceptVpcPeeringConnection", VpcPeeringConnectionId=peering)
    await add("10.1.0.0/16", VpcPeeringConnectionId=peering)
    back = await far.table()
    await far.call("CreateRoute", RouteTableId=back, DestinationCidrBlock="10.0.0.0/16", VpcPeeringConnectionId=peering)
    assert (await lab.routes(table))["10.1.0.0/16"] == (peering, "active")
    assert (await far.routes(back))["10.0.0.0/16"] == (peering, "active")
    stranger = await Lab.make(cloud.of("000000000003"), "10.2.0.0/16")
    code = await stranger.refused(
        "CreateRoute",
        RouteTableId=await stranger.table(),
        DestinationCidrBlock="10.1.0.0/16",
        VpcPeeringConnectionId=peering,
    )
    assert code == "InvalidVpcPeeringConnectionID.NotFound"


async def test_of_a_prefix_list(lab, table, add, refuse):
    made = await lab.call(
        "CreateManagedPrefixList",
        PrefixListName="offices",
        AddressFamily="IPv4",
        MaxEntries=300,
        Entries=[{"Cidr": "192.0.2.0/24"}],
    )
    offices, gateway = made["PrefixList"]["PrefixListId"], await lab.gateway()
    await add(offices, GatewayId=gateway)
    assert (await lab.routes(table))[offices] == (gateway, "active")
    by_list = [{"Name": "route.destination-prefix-list-id", "Values": [offices]}]
    assert len((await lab.call("DescribeRouteTables", Filters=by_list))["RouteTables"]) == 1
    more = await lab.call("CreateManagedPrefixList", PrefixListName="x", AddressFamily="IPv4", MaxEntries=201)
    assert await refuse(more["PrefixList"]["PrefixListId"], GatewayId=gateway) == "RouteLimitExceeded"
    assert await refuse("pl-0123456789abcdef0", GatewayId=gateway) == "InvalidPrefixListID.NotFound"


async def test_destinations_are_canonical(lab, table, add, refuse):
    gateway = await lab.gateway()
    await add("100.68.0.18/18", GatewayId=gateway)
    assert (await lab.routes(table))["100.68.0.0/18"] == (gateway, "active")
    assert await refuse("100.68.1.0/18", GatewayId=gateway) == "RouteAlreadyExists"
    assert await refuse("10.0.0.0/16", GatewayId=gateway) == "RouteAlreadyExists"
    for text in ("nowhere", "192.0.2.0", "192.0.2.0/33", "2001:db8::/129", "169.254.168.0/24", "fd00:ec2::/64"):
        assert await refuse(text, GatewayId=gateway) == "InvalidParameterValue", text


async def test_inside_of_the_vpc_to_interfaces_and_nat_gateways_only(lab, table, add, refuse):
    gateway, subnet = await lab.gateway(), await lab.subnet("10.0.1.0/24")
    firewall, nat = await lab.interface(await lab.subnet("10.0.2.0/24")), await lab.nat(subnet)
    assert await refuse("10.0.1.0/24", GatewayId=gateway) == "InvalidParameterValue"
    assert await refuse("10.0.1.0/25", NetworkInterfaceId=firewall) == "InvalidParameterValue"
    await add("10.0.1.0/24", NetworkInterfaceId=firewall)
    await add("10.0.2.0/24", NatGatewayId=nat)
    await add("10.0.0.0/8", GatewayId=gateway)
    assert set(await lab.routes(table)) == {"10.0.0.0/16", "10.0.1.0/24", "10.0.2.0/24", "10.0.0.0/8"}


async def test_the_local_route_can_lead_to_an_interface_and_back(lab, table, refuse):
    gateway, firewall = await lab.gateway(), await lab.interface(await lab.subnet())
    assert await refuse("10.0.0.0/16", "DeleteRoute") == "InvalidParameterValue"
    assert await refuse("10.0.0.0/16", "ReplaceRoute", GatewayId=gateway) == "InvalidParameterValue"
    local = {"RouteTableId": table, "DestinationCidrBlock": "10.0.0.0/16"}
    await lab.call("ReplaceRoute", **local, NetworkInterfaceId=firewall)
    assert await lab.routes(table) == {"10.0.0.0/16": (firewall, "blackhole")}
    assert await refuse("10.0.0.0/16", "DeleteRoute") == "InvalidParameterValue"
    await lab.call("ReplaceRoute", **local, LocalTarget=True)
    assert await lab.routes(table) == {"10.0.0.0/16": ("local", "active")}
    await lab.call("ReplaceRoute", **local, NetworkInterfaceId=firewall)
    await lab.call("ReplaceRoute", **local, GatewayId="local")
    assert await lab.routes(table) == {"10.0.0.0/16": ("local", "active")}


async def test_a_route_is_replaced_and_deleted(lab, table, add, refuse):
    gateway, nat = await lab.gateway(), await lab.nat(await lab.subnet())
    assert await refuse("0.0.0.0/0", "ReplaceRoute", GatewayId=gateway) == "InvalidParameterValue"
    assert await refuse("0.0.0.0/0", "DeleteRoute") == "InvalidRoute.NotFound"
    await add("0.0.0.0/0", GatewayId=gateway)
    await lab.call("ReplaceRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    assert (await lab.routes(table))["0.0.0.0/0"] == (nat, "active")
    assert await refuse("0.0.0.0/0", "ReplaceRoute", LocalTarget=True) == "InvalidParameterValue"
    await lab.call("DeleteRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    assert await lab.routes(table) == {"10.0.0.0/16": ("local", "active")}


async def test_what_a_route_may_not_lead_to(cloud, lab, table, refuse):
    gateway, elsewhere = await lab.gateway(), await Lab.make(cloud, "10.9.0.0/16")
    foreign = await elsewhere.interface(await elsewhere.subnet("10.9.0.0/24"))
    apart, detached = await elsewhere.gateway(), await lab.gateway(attached=False)
    for target, code in (
        ({}, "MissingParameter"),
        ({"GatewayId": gateway, "NatGatewayId": "nat-0123456789abcdef0"}, "InvalidParameterCombination"),
        ({"GatewayId": apart}, "InvalidParameterValue"),
        ({"GatewayId": detached}, "InvalidParameterValue"),
        ({"GatewayId": "local"}, "InvalidParameterValue"),
        ({"GatewayId": "vpce-0123456789abcdef0"}, "InvalidParameterValue"),
        ({"GatewayId": "igw-0123456789abcdef0"}, "InvalidGatewayID.NotFound"),
        ({"VpcEndpointId": "vpce-0123456789abcdef0"}, "RouteNotSupported"),
        ({"NetworkInterfaceId": foreign}, "InvalidParameterValue"),
        ({"NetworkInterfaceId": "eni-0123456789abcdef0"}, "InvalidNetworkInterfaceID.NotFound"),
        ({"InstanceId": "i-0123456789abcdef0"}, "InvalidInstanceID.NotFound"),
        ({"EgressOnlyInternetGatewayId": "eigw-0123456789abcdef0"}, "InvalidGatewayID.NotFound"),
        ({"CarrierGatewayId": "cagw-0123456789abcdef0"}, "InvalidCarrierGatewayID.NotFound"),
        ({"NatGatewayId": "nat-0123456789abcdef0"}, "InvalidNatGatewayID.NotFound"),
        ({"TransitGatewayId": "tgw-0123456789abcdef0"}, "Unsupported"),
    ):
        assert await refuse("0.0.0.0/0", **target) == code, target


async def test_exactly_one_destination(lab, table):
    gateway = await lab.gateway()
    code = await lab.refused("CreateRoute", RouteTableId=table, GatewayId=gateway)
    assert code == "MissingParameter"
    both = {"DestinationCidrBlock": "0.0.0.0/0", "DestinationIpv6CidrBlock": "::/0"}
    code = await lab.refused("CreateRoute", RouteTableId=table, GatewayId=gateway, **both)
    assert code == "InvalidParameterCombination"
