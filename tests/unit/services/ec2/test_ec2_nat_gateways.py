"""NAT gateways: their life, their interface and their addresses."""

import pytest
from routing_lab import Lab, settle


@pytest.fixture
async def lab(cloud):
    return await Lab.make(cloud)


@pytest.fixture
async def subnet(lab):
    return await lab.subnet()


async def shown(lab, nat):
    return (await lab.call("DescribeNatGateways", NatGatewayIds=[nat]))["NatGateways"][0]


async def public(lab, subnet, **params):
    """The id of an available public gateway, and the allocation id of its address."""
    address = await lab.elastic_ip()
    return await lab.nat(subnet, ConnectivityType="public", AllocationId=address, **params), address


async def test_a_public_gateway_lives(cloud, lab, subnet):
    await lab.gateway()
    address = await lab.elastic_ip()
    tags = [{"Key": "a", "Value": "b"}]
    params = {
        "SubnetId": subnet,
        "AllocationId": address,
        "PrivateIpAddress": "10.0.0.77",
        "ClientToken": "once",
        "TagSpecifications": [{"ResourceType": "natgateway", "Tags": tags}],
    }
    answer = await lab.call("CreateNatGateway", **params)
    made = answer["NatGateway"]
    assert (made["State"], made["ConnectivityType"], made["Tags"]) == ("pending", "public", tags)
    assert (made["VpcId"], made["SubnetId"], answer["ClientToken"]) == (lab.vpc_id, subnet, "once")
    assert await lab.call("CreateNatGateway", **params) == answer
    settle(cloud)
    nat = await shown(lab, made["NatGatewayId"])
    (bound,) = (await lab.call("DescribeAddresses", AllocationIds=[address]))["Addresses"]
    assert nat["State"] == "available"
    assert nat["NatGatewayAddresses"] == [
        {
            "AllocationId": address,
            "AssociationId": bound["AssociationId"],
            "PublicIp": bound["PublicIp"],
            "PrivateIp": "10.0.0.77",
            "NetworkInterfaceId": bound["NetworkInterfaceId"],
            "IsPrimary": True,
            "Status": "succeeded",
        }
    ]
    await lab.call("DeleteNatGateway", NatGatewayId=nat["NatGatewayId"])
    assert (await shown(lab, nat["NatGatewayId"]))["State"] == "deleting"
    settle(cloud)
    gone = await shown(lab, nat["NatGatewayId"])
    assert (gone["State"], gone["DeleteTime"]) == ("deleted", cloud.clock.now())
    assert "AssociationId" not in (await lab.call("DescribeAddresses", AllocationIds=[address]))["Addresses"][0]
    assert (await lab.call("DescribeNetworkInterfaces"))["NetworkInterfaces"] == []
    await lab.call("ReleaseAddress", AllocationId=address)
    cloud.clock.advance(3601)
    settle(cloud)
    assert await lab.refused("DescribeNatGateways", NatGatewayIds=[nat["NatGatewayId"]]) == "NatGatewayNotFound"
    await lab.call("DeleteSubnet", SubnetId=subnet)


async def test_its_interface_is_managed(cloud, lab, subnet):
    nat = await lab.nat(subnet)
    (interface,) = (await lab.call("DescribeNetworkInterfaces"))["NetworkInterfaces"]
    assert interface["Description"] == f"Interface for NAT Gateway {nat}"
    assert (interface["InterfaceType"], interface["RequesterManaged"]) == ("nat_gateway", True)
    assert (interface["SourceDestCheck"], interface["Groups"], interface["Status"]) == (False, [], "in-use")
    address = (await shown(lab, nat))["NatGatewayAddresses"][0]
    assert address["PrivateIp"] == interface["PrivateIpAddress"]
    named = {"NetworkInterfaceId": interface["NetworkInterfaceId"]}
    assert await cloud.refusal("ec2", "DeleteNetworkInterface", **named)
    assert await lab.refused("DeleteSubnet", SubnetId=subnet) == "DependencyViolation"


async def test_it_has_no_ipv6_address(lab):
    await lab.call("AssociateVpcCidrBlock", VpcId=lab.vpc_id, AmazonProvidedIpv6CidrBlock=True)
    (vpc,) = (await lab.call("DescribeVpcs", VpcIds=[lab.vpc_id]))["Vpcs"]
    six = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    made = await lab.call("CreateSubnet", VpcId=lab.vpc_id, CidrBlock="10.0.8.0/24", Ipv6CidrBlock=six)
    subnet = made["Subnet"]["SubnetId"]
    await lab.call("ModifySubnetAttribute", SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True})
    await lab.nat(subnet)
    (interface,) = (await lab.call("DescribeNetworkInterfaces"))["NetworkInterfaces"]
    assert interface["Ipv6Addresses"] == []


async def test_without_a_way_out_a_public_gateway_fails(cloud, lab, subnet):
    nat, address = await public(lab, subnet)
    failed = await shown(lab, nat)
    assert (failed["State"], failed["FailureCode"]) == ("failed", "Gateway.NotAttached")
    assert lab.vpc_id in failed["FailureMessage"]
    assert (await lab.call("DescribeNetworkInterfaces"))["NetworkInterfaces"] == []
    await lab.call("ReleaseAddress", AllocationId=address)
    other = await lab.nat(subnet)
    await lab.call("DeleteNatGateway", NatGatewayId=other)
    settle(cloud)
    assert await lab.refused("DeleteNatGateway", NatGatewayId=other) == "NatGatewayNotFound"
    cloud.clock.advance(3601)
    settle(cloud)
    assert (await lab.call("DescribeNatGateways"))["NatGateways"] == []


async def test_a_failed_one_can_be_deleted(cloud, lab, subnet):
    nat, _ = await public(lab, subnet)
    await lab.call("DeleteNatGateway", NatGatewayId=nat)
    settle(cloud)
    assert (await shown(lab, nat))["State"] == "deleted"


async def test_with_an_address_in_use_it_fails(lab, subnet):
    await lab.gateway()
    interface, address = await lab.interface(subnet), await lab.elastic_ip()
    await lab.call("AssociateAddress", AllocationId=address, NetworkInterfaceId=interface)
    nat = await lab.nat(subnet, ConnectivityType="public", AllocationId=address)
    failed = await shown(lab, nat)
    assert (failed["State"], failed["FailureCode"]) == ("failed", "Resource.AlreadyAssociated")
    (bound,) = (await lab.call("DescribeAddresses", AllocationIds=[address]))["Addresses"]
    assert bound["NetworkInterfaceId"] == interface


async def test_in_a_full_subnet_it_fails(lab):
    subnet = await lab.subnet("10.0.5.0/28")
    await lab.call("CreateNetworkInterface", SubnetId=subnet, SecondaryPrivateIpAddressCount=10)
    failed = await shown(lab, await lab.nat(subnet))
    assert (failed["State"], failed["FailureCode"]) == ("failed", "InsufficientFreeAddressesInSubnet")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"ConnectivityType": "public"}, "MissingParameter"),
        ({"ConnectivityType": "odd"}, "InvalidParameterValue"),
        ({"ConnectivityType": "private", "AllocationId": "eipalloc-0123456789abcdef0"}, "InvalidParameterCombination"),
        ({"AllocationId": "eipalloc-0123456789abcdef0"}, "InvalidAllocationID.NotFound"),
        ({"AvailabilityMode": "regional"}, "Unsupported"),
        ({"ConnectivityType": "private", "PrivateIpAddress": "10.0.9.9"}, "InvalidParameterValue"),
        ({"ConnectivityType": "private", "PrivateIpAddress": "10.0.0.1"}, "InvalidParameterValue"),
        ({"ConnectivityType": "private", "SecondaryPrivateIpAddressCount": 8}, "PrivateIpAddressLimitExceeded"),
        (
            {
                "ConnectivityType": "private",
                "SecondaryPrivateIpAddressCount": 1,
                "SecondaryPrivateIpAddresses": ["10.0.0.9"],
            },
            "InvalidParameterCombination",
        ),
    ],
)
async def test_what_is_refused(lab, subnet, params, code):
    assert await lab.refused("CreateNatGateway", SubnetId=subnet, **params) == code
    assert (await lab.call("DescribeNetworkInterfaces"))["NetworkInterfaces"] == []


async def test_five_in_a_zone(lab, subnet):
    for _ in range(5):
        await lab.nat(subnet)
    code = await lab.refused("CreateNatGateway", SubnetId=subnet, ConnectivityType="private")
    assert code == "NatGatewayLimitExceeded"
    await lab.nat(await lab.subnet("10.0.1.0/24", zone="b"))


async def test_several_elastic_ips(lab, subnet):
    await lab.gateway()
    second, third = await lab.elastic_ip(), await lab.elastic_ip()
    nat, first = await public(lab, subnet, SecondaryAllocationIds=[second], SecondaryPrivateIpAddresses=["10.0.0.50"])
    addresses = (await shown(lab, nat))["NatGatewayAddresses"]
    assert [(one["AllocationId"], one["IsPrimary"]) for one in addresses] == [(first, True), (second, False)]
    assert addresses[1]["PrivateIp"] == "10.0.0.50"
    named = {"NatGatewayId": nat}
    added = await lab.call(
        "AssociateNatGatewayAddress", **named, AllocationIds=[third], PrivateIpAddresses=["10.0.0.51"]
    )
    (new,) = added["NatGatewayAddresses"]
    assert (new["AllocationId"], new["PrivateIp"], new["Status"]) == (third, "10.0.0.51", "associating")
    assert len((await shown(lab, nat))["NatGatewayAddresses"]) == 3
    code = await lab.refused("AssociateNatGatewayAddress", **named, AllocationIds=[third])
    assert code == "Resource.AlreadyAssociated"
    primary = addresses[0]["AssociationId"]
    code = await lab.refused("DisassociateNatGatewayAddress", **named, AssociationIds=[primary])
    assert code == "InvalidParameterValue"
    taken = await lab.call("DisassociateNatGatewayAddress", **named, AssociationIds=[addresses[1]["AssociationId"]])
    assert [one["AllocationId"] for one in taken["NatGatewayAddresses"]] == [second]
    await lab.call("ReleaseAddress", AllocationId=second)
    await lab.call("CreateNetworkInterface", SubnetId=subnet, PrivateIpAddress="10.0.0.50")
    left = (await shown(lab, nat))["NatGatewayAddresses"]
    assert [one["AllocationId"] for one in left] == [first, third]
    code = await lab.refused("AssignPrivateNatGatewayAddress", **named, PrivateIpAddressCount=1)
    assert code == "InvalidParameterValue"


async def test_several_private_addresses(lab, subnet):
    nat = await lab.nat(subnet, SecondaryPrivateIpAddressCount=2)
    named = {"NatGatewayId": nat}
    assert len((await shown(lab, nat))["NatGatewayAddresses"]) == 3
    more = await lab.call("AssignPrivateNatGatewayAddress", **named, PrivateIpAddresses=["10.0.0.60"])
    assert [(one["PrivateIp"], one["Status"]) for one in more["NatGatewayAddresses"]] == [("10.0.0.60", "assigning")]
    code = await lab.refused("AssignPrivateNatGatewayAddress", **named, PrivateIpAddressCount=5)
    assert code == "PrivateIpAddressLimitExceeded"
    primary = (await shown(lab, nat))["NatGatewayAddresses"][0]["PrivateIp"]
    for address in (primary, "10.0.0.99"):
        code = await lab.refused("UnassignPrivateNatGatewayAddress", **named, PrivateIpAddresses=[address])
        assert code == "InvalidParameterValue"
    await lab.call("UnassignPrivateNatGatewayAddress", **named, PrivateIpAddresses=["10.0.0.60"])
    await lab.call("CreateNetworkInterface", SubnetId=subnet, PrivateIpAddress="10.0.0.60")
    assert len((await shown(lab, nat))["NatGatewayAddresses"]) == 3


@pytest.mark.parametrize("name", ["nat-gateway-id", "state", "subnet-id", "vpc-id", "tag:a", "tag-key"])
async def test_filters(lab, subnet, name):
    tags = [{"ResourceType": "natgateway", "Tags": [{"Key": "a", "Value": "b"}]}]
    nat = await lab.nat(subnet, TagSpecifications=tags)
    value = {
        "nat-gateway-id": nat,
        "state": "available",
        "subnet-id": subnet,
        "vpc-id": lab.vpc_id,
        "tag:a": "b",
        "tag-key": "a",
    }[name]
    found = await lab.call("DescribeNatGateways", Filter=[{"Name": name, "Values": [value]}])
    assert [one["NatGatewayId"] for one in found["NatGateways"]] == [nat]
    assert (await lab.call("DescribeNatGateways", Filter=[{"Name": name, "Values": ["x"]}]))["NatGateways"] == []


async def test_another_account_sees_nothing(cloud, lab, subnet):
    nat = await lab.nat(subnet)
    other = cloud.of("000000000002")
    error = await other.refusal("ec2", "DeleteNatGateway", NatGatewayId=nat)
    assert error.code == "NatGatewayNotFound"
    assert (await other.refusal("ec2", "DeleteNatGateway", NatGatewayId="nat-x")).code == "NatGatewayMalformed"
