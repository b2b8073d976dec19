"""The default VPC and what comes with it, as every new account finds it."""

import pytest


@pytest.fixture
async def vpc(ec2):
    return (await ec2("DescribeVpcs"))["Vpcs"][0]


@pytest.fixture
async def subnets(ec2):
    return (await ec2("DescribeSubnets"))["Subnets"]


async def test_the_default_vpc(cloud, vpc):
    assert (vpc["CidrBlock"], vpc["IsDefault"], vpc["OwnerId"]) == ("172.31.0.0/16", True, cloud.account)
    assert (vpc["State"], vpc["InstanceTenancy"]) == ("available", "default")
    assert [one["CidrBlock"] for one in vpc["CidrBlockAssociationSet"]] == ["172.31.0.0/16"]


async def test_one_in_each_region_and_account(cloud, vpc):
    found = [vpc["VpcId"]]
    for other in (cloud.within("eu-central-1"), cloud.of("000000000002")):
        (theirs,) = (await other.call("ec2", "DescribeVpcs"))["Vpcs"]
        found.append(theirs["VpcId"])
        error = await other.refusal("ec2", "DescribeVpcs", VpcIds=[vpc["VpcId"]])
        assert error.code == "InvalidVpcID.NotFound"
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("attribute", "member", "value"),
    [
        ("enableDnsSupport", "EnableDnsSupport", True),
        ("enableDnsHostnames", "EnableDnsHostnames", True),
        ("enableNetworkAddressUsageMetrics", "EnableNetworkAddressUsageMetrics", False),
    ],
)
async def test_vpc_attributes(ec2, refused, vpc, attribute, member, value):
    described = await ec2("DescribeVpcAttribute", VpcId=vpc["VpcId"], Attribute=attribute)
    assert described == {"VpcId": vpc["VpcId"], member: {"Value": value}}
    assert await refused("DescribeVpcAttribute", VpcId=vpc["VpcId"], Attribute="mood") == "InvalidParameterValue"


async def test_a_subnet_in_each_zone(vpc, subnets):
    assert [(one["AvailabilityZone"], one["CidrBlock"]) for one in subnets] == [
        ("us-east-1a", "172.31.0.0/20"),
        ("us-east-1b", "172.31.16.0/20"),
    ]
    for subnet in subnets:
        assert (subnet["DefaultForAz"], subnet["MapPublicIpOnLaunch"], subnet["VpcId"]) == (True, True, vpc["VpcId"])
        assert subnet["AvailableIpAddressCount"] == 4091


async def test_addresses_in_use_are_not_available(ec2, launch, subnets):
    subnet = subnets[1]["SubnetId"]
    await launch(SubnetId=subnet, MinCount=3, MaxCount=3)
    counted = (await ec2("DescribeSubnets", SubnetIds=[subnet]))["Subnets"][0]["AvailableIpAddressCount"]
    assert counted == 4088
    by_count = [{"Name": "available-ip-address-count", "Values": ["4088"]}]
    assert len((await ec2("DescribeSubnets", Filters=by_count))["Subnets"]) == 1


async def test_the_way_out(ec2, vpc):
    (gateway,) = (await ec2("DescribeInternetGateways"))["InternetGateways"]
    assert gateway["Attachments"] == [{"State": "available", "VpcId": vpc["VpcId"]}]
    (table,) = (await ec2("DescribeRouteTables"))["RouteTables"]
    assert [(route["DestinationCidrBlock"], route["GatewayId"]) for route in table["Routes"]] == [
        ("172.31.0.0/16", "local"),
        ("0.0.0.0/0", gateway["InternetGatewayId"]),
    ]
    assert table["Associations"][0]["Main"] is True
    main = [{"Name": "association.main", "Values": ["true"]}]
    assert len((await ec2("DescribeRouteTables", Filters=main))["RouteTables"]) == 1


async def test_the_network_acl_covers_every_subnet(ec2, subnets):
    (acl,) = (await ec2("DescribeNetworkAcls"))["NetworkAcls"]
    assert acl["IsDefault"] is True
    assert {one["SubnetId"] for one in acl["Associations"]} == {subnet["SubnetId"] for subnet in subnets}
    assert sorted((one["RuleNumber"], one["Egress"], one["RuleAction"]) for one in acl["Entries"]) == [
        (100, False, "allow"),
        (100, True, "allow"),
        (32767, False, "deny"),
        (32767, True, "deny"),
    ]


@pytest.mark.parametrize(
    ("operation", "member", "filters"),
    [
        ("DescribeVpcs", "Vpcs", {"cidr": "172.31.*", "is-default": "true", "state": "available", "isDefault": "true"}),
        ("DescribeSubnets", "Subnets", {"availability-zone": "us-east-1a", "cidrBlock": "172.31.0.0/20"}),
        (
            "DescribeRouteTables",
            "RouteTables",
            {"route.gateway-id": "igw-*", "route.destination-cidr-block": "0.0.0.0/0"},
        ),
        ("DescribeInternetGateways", "InternetGateways", {"attachment.state": "available"}),
        ("DescribeNetworkAcls", "NetworkAcls", {"default": "true", "entry.rule-number": "100"}),
    ],
)
async def test_filters(ec2, operation, member, filters):
    for name, value in filters.items():
        assert len((await ec2(operation, Filters=[{"Name": name, "Values": [value]}]))[member]) == 1, name
        assert (await ec2(operation, Filters=[{"Name": name, "Values": [f"not {value}"]}]))[member] == []


@pytest.mark.parametrize(
    ("operation", "parameter", "prefix", "family"),
    [
        ("DescribeVpcs", "VpcIds", "vpc", "InvalidVpcID"),
        ("DescribeSubnets", "SubnetIds", "subnet", "InvalidSubnetID"),
        ("DescribeRouteTables", "RouteTableIds", "rtb", "InvalidRouteTableID"),
        ("DescribeInternetGateways", "InternetGatewayIds", "igw", "InvalidInternetGatewayID"),
        ("DescribeNetworkAcls", "NetworkAclIds", "acl", "InvalidNetworkAclID"),
        ("DescribeNetworkInterfaces", "NetworkInterfaceIds", "eni", "InvalidNetworkInterfaceID"),
    ],
)
async def test_ids_that_are_not_there(refused, operation, parameter, prefix, family):
    assert await refused(operation, **{parameter: [f"{prefix}-0123456789abcdef0"]}) == f"{family}.NotFound"
    assert (await refused(operation, **{parameter: ["x"]})).lower() == f"{family}.malformed".lower()


async def test_the_interfaces_of_a_launch(cloud, ec2, launch, vpc):
    tags = [{"Key": "a", "Value": "b"}]
    made = await launch(TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}])
    (drawn,) = (await ec2("DescribeNetworkInterfaces"))["NetworkInterfaces"]
    assert (drawn["Status"], drawn["VpcId"], drawn["TagSet"]) == ("in-use", vpc["VpcId"], tags)
    assert drawn["Attachment"]["InstanceId"] == made["InstanceId"]
    assert drawn["Attachment"]["DeviceIndex"] == 0
    for name, value in (
        ("attachment.instance-id", made["InstanceId"]),
        ("attachment.attach-time", "2026-11-23T12:00:00.000Z"),
        ("private-ip-address", made["PrivateIpAddress"]),
        ("association.public-ip", drawn["Association"]["PublicIp"]),
        ("group-name", "default"),
        ("mac-address", drawn["MacAddress"]),
        ("tag:a", "b"),
        ("availability-zone-id", "use1-az2"),
    ):
        found = await ec2("DescribeNetworkInterfaces", Filters=[{"Name": name, "Values": [value]}])
        assert len(found["NetworkInterfaces"]) == 1, name


async def test_an_interface_names_its_zone_and_its_public_address(ec2, launch):
    instance = await launch()
    (drawn,) = (await ec2("DescribeNetworkInterfaces"))["NetworkInterfaces"]
    assert drawn["PublicDnsName"] == instance["PublicDnsName"]
    assert drawn["AvailabilityZoneId"] == instance["Placement"]["AvailabilityZoneId"]
