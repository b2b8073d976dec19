"""What routes lead to becomes available, and goes, by itself; time ends what nobody answers."""

from datetime import timedelta

import pytest

from pileus.records import NatGateway, NetworkInterface, Peering, VpcEndpoint


@pytest.fixture
async def vpc(ec2):
    vpc = (await ec2.create_vpc(CidrBlock="10.0.0.0/16"))["Vpc"]["VpcId"]
    gateway = (await ec2.create_internet_gateway())["InternetGateway"]["InternetGatewayId"]
    await ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    return vpc


@pytest.fixture
async def subnet(ec2, vpc):
    return (await ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24"))["Subnet"]["SubnetId"]


async def test_a_nat_gateway_by_the_clients_waiters(cloud, ec2, subnet, in_time):
    allocation = (await ec2.allocate_address())["AllocationId"]
    made = await ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation)
    nat = made["NatGateway"]["NatGatewayId"]
    await cloud.until(lambda view: view.get(NatGateway, nat).state == "available")
    found = (await ec2.describe_nat_gateways(NatGatewayIds=[nat]))["NatGateways"][0]
    assert found["NatGatewayAddresses"][0]["AllocationId"] == allocation
    await ec2.delete_nat_gateway(NatGatewayId=nat)
    await cloud.until(lambda view: view.get(NatGateway, nat).state == "deleted")
    await ec2.release_address(AllocationId=allocation)
    await ec2.delete_subnet(SubnetId=subnet)
    await in_time(lambda view: view.get(NatGateway, nat) is None)


async def test_an_interface_endpoint(cloud, ec2, vpc, subnet):
    made = await ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName="com.amazonaws.us-east-1.sts",
        VpcEndpointType="Interface",
        SubnetIds=[subnet],
        PrivateDnsEnabled=False,
    )
    endpoint = made["VpcEndpoint"]["VpcEndpointId"]
    await cloud.until(lambda view: view.get(VpcEndpoint, endpoint).state == "available")
    await ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    await cloud.until(lambda view: view.get(VpcEndpoint, endpoint) is None)
    assert not cloud.store.view().list(NetworkInterface, subnet_id=subnet)


async def test_a_request_for_a_peering_expires(cloud, clock, ec2, vpc):
    other = (await ec2.create_vpc(CidrBlock="10.1.0.0/16"))["Vpc"]["VpcId"]
    asked = await ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=other)
    peering = asked["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    assert cloud.store.view().get(Peering, peering).state == "pending-acceptance"
    clock.advance(timedelta(days=7).total_seconds())
    await cloud.until(lambda view: view.get(Peering, peering).state == "expired")
