"""Everything that routing is made of has tags, of the type that AWS names it by."""

import pytest
from routing_lab import Lab


@pytest.fixture
async def lab(cloud):
    return await Lab.make(cloud)


async def test_tags_come_and_go(lab):
    other = await Lab.make(lab.cloud, "10.1.0.0/16")
    list_ = await lab.call("CreateManagedPrefixList", PrefixListName="x", AddressFamily="IPv4", MaxEntries=1)
    eigw = await lab.call("CreateEgressOnlyInternetGateway", VpcId=lab.vpc_id)
    peering = await lab.call("CreateVpcPeeringConnection", VpcId=lab.vpc_id, PeerVpcId=other.vpc_id)
    endpoint = await lab.call("CreateVpcEndpoint", VpcId=lab.vpc_id, ServiceName="com.amazonaws.us-east-1.s3")
    types = {
        await lab.table(): "route-table",
        await lab.gateway(): "internet-gateway",
        await lab.nat(await lab.subnet()): "natgateway",
        list_["PrefixList"]["PrefixListId"]: "prefix-list",
        eigw["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]: "egress-only-internet-gateway",
        peering["VpcPeeringConnection"]["VpcPeeringConnectionId"]: "vpc-peering-connection",
        endpoint["VpcEndpoint"]["VpcEndpointId"]: "vpc-endpoint",
    }
    await lab.call("CreateTags", Resources=list(types), Tags=[{"Key": "a", "Value": "b"}])
    told = (await lab.call("DescribeTags", Filters=[{"Name": "key", "Values": ["a"]}]))["Tags"]
    assert {one["ResourceId"]: one["ResourceType"] for one in told} == types
    by_tag = [{"Name": "tag:a", "Values": ["b"]}]
    for operation, member, filters in (
        ("DescribeRouteTables", "RouteTables", "Filters"),
        ("DescribeInternetGateways", "InternetGateways", "Filters"),
        ("DescribeNatGateways", "NatGateways", "Filter"),
        ("DescribeManagedPrefixLists", "PrefixLists", "Filters"),
        ("DescribeEgressOnlyInternetGateways", "EgressOnlyInternetGateways", "Filters"),
        ("DescribeVpcPeeringConnections", "VpcPeeringConnections", "Filters"),
        ("DescribeVpcEndpoints", "VpcEndpoints", "Filters"),
    ):
        (found,) = (await lab.call(operation, **{filters: by_tag}))[member]
        assert found["Tags"] == [{"Key": "a", "Value": "b"}], operation
    await lab.call("DeleteTags", Resources=list(types))
    assert (await lab.call("DescribeTags"))["Tags"] == []
