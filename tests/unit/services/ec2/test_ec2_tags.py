import pytest


def tags(*pairs):
    return [{"Key": key, "Value": value} for key, value in pairs]


async def described(ec2, **params):
    result = await ec2("DescribeTags", **params)
    return [(tag["ResourceType"], tag["Key"], tag["Value"]) for tag in result["Tags"]]


@pytest.fixture
async def vpc_id(ec2):
    return (await ec2("DescribeVpcs"))["Vpcs"][0]["VpcId"]


@pytest.fixture
async def everything(ec2, launch):
    """One id of each kind of resource that can be tagged."""
    instance = await launch()
    groups = (await ec2("DescribeSecurityGroups"))["SecurityGroups"]
    return {
        "elastic-ip": (await ec2("AllocateAddress"))["AllocationId"],
        "image": instance["ImageId"],
        "instance": instance["InstanceId"],
        "internet-gateway": (await ec2("DescribeInternetGateways"))["InternetGateways"][0]["InternetGatewayId"],
        "key-pair": (await ec2("CreateKeyPair", KeyName="k", KeyType="ed25519"))["KeyPairId"],
        "network-acl": (await ec2("DescribeNetworkAcls"))["NetworkAcls"][0]["NetworkAclId"],
        "network-interface": instance["NetworkInterfaces"][0]["NetworkInterfaceId"],
        "route-table": (await ec2("DescribeRouteTables"))["RouteTables"][0]["RouteTableId"],
        "security-group": groups[0]["GroupId"],
        "security-group-rule": (await ec2("DescribeSecurityGroupRules"))["SecurityGroupRules"][0][
            "SecurityGroupRuleId"
        ],
        "subnet": instance["SubnetId"],
        "volume": (await ec2("DescribeVolumes"))["Volumes"][0]["VolumeId"],
        "vpc": instance["VpcId"],
    }


async def test_everything_can_be_tagged_and_untagged(ec2, everything):
    await ec2("CreateTags", Resources=list(everything.values()), Tags=tags(("Name", "x")))
    assert sorted(await described(ec2)) == [(kind, "Name", "x") for kind in sorted(everything)]
    result = await ec2("DescribeTags")
    assert {tag["ResourceType"]: tag["ResourceId"] for tag in result["Tags"]} == everything
    await ec2("DeleteTags", Resources=list(everything.values()))
    assert await described(ec2) == []


async def test_tags_come_with_their_resources(ec2, everything):
    await ec2("CreateTags", Resources=list(everything.values()), Tags=tags(("Name", "x")))
    by_tag = [{"Name": "tag:Name", "Values": ["x"]}]
    for operation, member in (
        ("DescribeVpcs", "Vpcs"),
        ("DescribeSubnets", "Subnets"),
        ("DescribeAddresses", "Addresses"),
        ("DescribeSecurityGroups", "SecurityGroups"),
        ("DescribeSecurityGroupRules", "SecurityGroupRules"),
        ("DescribeVolumes", "Volumes"),
        ("DescribeNetworkInterfaces", "NetworkInterfaces"),
        ("DescribeInstances", "Reservations"),
    ):
        assert len((await ec2(operation, Filters=by_tag))[member]) == 1, operation


async def test_a_tag_of_the_same_key_is_replaced(ec2, vpc_id):
    await ec2("CreateTags", Resources=[vpc_id], Tags=tags(("a", "1"), ("b", "2")))
    await ec2("CreateTags", Resources=[vpc_id, vpc_id], Tags=tags(("b", ""), ("c", "3")))
    assert await described(ec2) == [("vpc", "a", "1"), ("vpc", "b", ""), ("vpc", "c", "3")]


async def test_what_is_deleted(ec2, vpc_id):
    await ec2("CreateTags", Resources=[vpc_id], Tags=tags(("a", "1"), ("b", "2"), ("c", ""), ("d", "4")))
    await ec2("DeleteTags", Resources=[vpc_id], Tags=[{"Key": "a"}, *tags(("b", "other"), ("c", ""), ("d", ""))])
    assert await described(ec2) == [("vpc", "b", "2"), ("vpc", "d", "4")]


async def test_filters(ec2, vpc_id, launch):
    instance = (await launch())["InstanceId"]
    await ec2("CreateTags", Resources=[vpc_id], Tags=tags(("stack", "prod"), ("owner", "ann")))
    await ec2("CreateTags", Resources=[instance], Tags=tags(("stack", "test")))
    prod, test, ann = ("vpc", "stack", "prod"), ("instance", "stack", "test"), ("vpc", "owner", "ann")
    for name, values, expected in (
        ("key", ["stack"], {prod, test}),
        ("resource-id", [instance], {test}),
        ("resource-type", ["vpc"], {prod, ann}),
        ("value", ["pro*", "ann"], {prod, ann}),
        ("tag:stack", ["prod"], {prod}),
        ("tag:stack", ["ann"], set()),
    ):
        assert set(await described(ec2, Filters=[{"Name": name, "Values": values}])) == expected


async def test_pages_are_sorted(ec2, vpc_id, launch):
    instance = (await launch())["InstanceId"]
    await ec2("CreateTags", Resources=[vpc_id, instance], Tags=tags(*((f"key{number}", "x") for number in range(6))))
    first = await ec2("DescribeTags", MaxResults=7)
    second = await ec2("DescribeTags", MaxResults=7, NextToken=first["NextToken"])
    listed = [(tag["ResourceId"], tag["Key"]) for tag in first["Tags"] + second["Tags"]]
    assert len(listed) == 12
    assert listed == sorted(listed)
    assert "NextToken" not in second


async def test_ids_that_are_none(refused):
    for id_ in ("foo", "i-xyz", "ami-", "eipassoc-0123456789abcdef0", ""):
        assert await refused("CreateTags", Resources=[id_], Tags=tags(("a", "b"))) == "InvalidID"
        assert await refused("DeleteTags", Resources=[id_]) == "InvalidID"


@pytest.mark.parametrize(
    ("id_", "code"),
    [
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
        ("sg-0123456789abcdef0", "InvalidGroup.NotFound"),
        ("sgr-0123456789abcdef0", "InvalidSecurityGroupRuleId.NotFound"),
        ("ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
    ],
)
async def test_resources_that_are_not_there(ec2, refused, vpc_id, id_, code):
    assert await refused("CreateTags", Resources=[vpc_id, id_], Tags=tags(("a", "b"))) == code
    assert await described(ec2) == []


async def test_anothers_resources(cloud, ec2, vpc_id):
    await ec2("CreateTags", Resources=[vpc_id], Tags=tags(("a", "b")))
    other = cloud.of("000000000002")
    error = await other.refusal("ec2", "CreateTags", Resources=[vpc_id], Tags=tags(("a", "c")))
    assert error.code == "InvalidVpcID.NotFound"
    assert (await other.call("ec2", "DescribeTags"))["Tags"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        tags(("", "x")),
        tags(("aws:x", "y")),
        tags(("k" * 128, "")),
        tags(("k", "v" * 257)),
        tags(("k", "1"), ("k", "2")),
    ],
)
async def test_tags_that_ec2_does_not_take(refused, vpc_id, wrong):
    assert await refused("CreateTags", Resources=[vpc_id], Tags=wrong) == "InvalidParameterValue"


async def test_fifty_at_most(ec2, refused, vpc_id):
    await ec2("CreateTags", Resources=[vpc_id], Tags=tags(*((f"key{number}", "x") for number in range(50))))
    assert await refused("CreateTags", Resources=[vpc_id], Tags=tags(("one more", ""))) == "TagLimitExceeded"
    await ec2("CreateTags", Resources=[vpc_id], Tags=tags(("key0", "changed")))
