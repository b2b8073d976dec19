"""Secondary IPv4 blocks and IPv6 blocks of VPCs and subnets."""

import pytest


@pytest.fixture
def make(ec2):
    async def make(cidr="10.0.0.0/16", **params):
        return (await ec2("CreateVpc", CidrBlock=cidr, **params))["Vpc"]["VpcId"]

    return make


@pytest.fixture
def shown(ec2):
    async def shown(vpc):
        return (await ec2("DescribeVpcs", VpcIds=[vpc]))["Vpcs"][0]

    return shown


async def test_a_block_joins_and_leaves(ec2, make, shown, refused):
    vpc = await make()
    added = await ec2("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.5.7.7/20")
    association = added["CidrBlockAssociation"]
    assert (association["CidrBlock"], association["CidrBlockState"]) == ("10.5.0.0/20", {"State": "associating"})
    blocks = (await shown(vpc))["CidrBlockAssociationSet"]
    assert [(one["CidrBlock"], one["CidrBlockState"]["State"]) for one in blocks] == [
        ("10.0.0.0/16", "associated"),
        ("10.5.0.0/20", "associated"),
    ]
    by_block = [{"Name": "cidr-block-association.cidr-block", "Values": ["10.5.0.0/20"]}]
    assert len((await ec2("DescribeVpcs", Filters=by_block))["Vpcs"]) == 1
    (table,) = (await ec2("DescribeRouteTables", Filters=[{"Name": "vpc-id", "Values": [vpc]}]))["RouteTables"]
    assert [one["DestinationCidrBlock"] for one in table["Routes"]] == ["10.0.0.0/16", "10.5.0.0/20"]
    subnet = (await ec2("CreateSubnet", VpcId=vpc, CidrBlock="10.5.0.0/24"))["Subnet"]["SubnetId"]
    id_ = association["AssociationId"]
    assert await refused("DisassociateVpcCidrBlock", AssociationId=id_) == "DependencyViolation"
    await ec2("DeleteSubnet", SubnetId=subnet)
    ended = await ec2("DisassociateVpcCidrBlock", AssociationId=id_)
    assert ended["CidrBlockAssociation"]["CidrBlockState"] == {"State": "disassociating"}
    assert len((await shown(vpc))["CidrBlockAssociationSet"]) == 1
    assert await refused("DisassociateVpcCidrBlock", AssociationId=id_) == "InvalidVpcCidrBlockAssociationID.NotFound"


async def test_the_primary_block_stays(shown, make, refused):
    vpc = await make()
    primary = (await shown(vpc))["CidrBlockAssociationSet"][0]["AssociationId"]
    assert await refused("DisassociateVpcCidrBlock", AssociationId=primary) == "OperationNotPermitted"


@pytest.mark.parametrize(
    ("primary", "added", "code"),
    [
        ("10.0.0.0/16", "10.0.128.0/17", "InvalidVpc.Range"),
        ("10.0.0.0/24", "10.0.0.0/16", "InvalidVpc.Range"),
        ("10.2.0.0/16", "10.4.0.0/15", "InvalidVpc.Range"),
        ("10.2.0.0/16", "172.16.0.0/16", "InvalidVpc.Range"),
        ("10.2.0.0/16", "192.168.0.0/24", "InvalidVpc.Range"),
        ("10.2.0.0/16", "198.19.0.0/24", "InvalidVpc.Range"),
        ("10.1.0.0/16", "10.0.0.0/24", "InvalidVpc.Range"),
        ("10.2.0.0/16", "10.0.0.0/24", None),
        ("10.2.0.0/16", "100.64.0.0/16", None),
        ("10.2.0.0/16", "8.8.8.0/24", None),
        ("172.20.0.0/16", "172.31.0.0/16", "InvalidVpc.Range"),
        ("172.20.0.0/16", "172.30.0.0/16", None),
        ("172.20.0.0/16", "10.0.0.0/16", "InvalidVpc.Range"),
        ("192.168.0.0/17", "192.168.128.0/17", None),
        ("192.168.0.0/17", "172.31.0.0/16", "InvalidVpc.Range"),
        ("198.19.0.0/17", "198.19.128.0/17", None),
        ("198.19.0.0/17", "10.0.0.0/16", "InvalidVpc.Range"),
        ("100.64.0.0/16", "100.65.0.0/16", None),
        ("100.64.0.0/16", "10.0.0.0/16", "InvalidVpc.Range"),
        ("100.64.0.0/16", "198.19.0.0/16", "InvalidVpc.Range"),
        ("10.2.0.0/16", "what", "InvalidParameterValue"),
    ],
)
async def test_which_blocks_go_together(ec2, make, shown, refused, primary, added, code):
    vpc = await make(primary)
    before = await shown(vpc)
    if code is None:
        await ec2("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=added)
    else:
        assert await refused("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=added) == code
        assert await shown(vpc) == before


async def test_what_a_call_has_to_say(make, refused):
    vpc = await make()
    both = {"CidrBlock": "10.5.0.0/16", "AmazonProvidedIpv6CidrBlock": True}
    assert await refused("AssociateVpcCidrBlock", VpcId=vpc) == "MissingParameter"
    assert await refused("AssociateVpcCidrBlock", VpcId=vpc, **both) == "InvalidParameterCombination"
    assert await refused("AssociateVpcCidrBlock", VpcId=vpc, Ipv6Pool="x") == "Unsupported"


async def test_five_blocks_of_each_family(ec2, make, refused):
    vpc = await make()
    for number in range(2, 6):
        await ec2("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=f"10.{number}.0.0/16")
    assert await refused("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.6.0.0/16") == "CidrLimitExceeded"
    for _ in range(5):
        await ec2("AssociateVpcCidrBlock", VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    assert await refused("AssociateVpcCidrBlock", VpcId=vpc, AmazonProvidedIpv6CidrBlock=True) == "CidrLimitExceeded"


async def test_a_block_does_not_cover_the_destination_of_a_route(ec2, make, refused):
    vpc = await make("10.2.0.0/16")
    gateway = (await ec2("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
    await ec2("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    (table,) = (await ec2("DescribeRouteTables", Filters=[{"Name": "vpc-id", "Values": [vpc]}]))["RouteTables"]
    for destination in ("10.0.0.0/24", "0.0.0.0/0"):
        await ec2(
            "CreateRoute", RouteTableId=table["RouteTableId"], DestinationCidrBlock=destination, GatewayId=gateway
        )
    for block in ("10.0.0.0/16", "10.0.0.0/24"):
        assert await refused("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=block) == "InvalidVpc.Range"
    await ec2("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.0.0.0/25")


async def test_a_vpc_gets_ipv6_later_and_its_rules_with_it(ec2, make, shown, refused):
    vpc = await make()
    within = [{"Name": "vpc-id", "Values": [vpc]}]
    custom = (await ec2("CreateNetworkAcl", VpcId=vpc))["NetworkAcl"]["NetworkAclId"]
    changed = (await ec2("CreateSecurityGroup", VpcId=vpc, GroupName="x", Description="x"))["GroupId"]
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    await ec2("RevokeSecurityGroupEgress", GroupId=changed, IpPermissions=everything)
    added = await ec2("AssociateVpcCidrBlock", VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    await ec2("AssociateVpcCidrBlock", VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    assert added["Ipv6CidrBlockAssociation"]["Ipv6CidrBlockState"] == {"State": "associating"}
    for acl in (await ec2("DescribeNetworkAcls", Filters=within))["NetworkAcls"]:
        numbers = sorted(one["RuleNumber"] for one in acl["Entries"] if "Ipv6CidrBlock" in one)
        assert numbers == ([32768, 32768] if acl["NetworkAclId"] == custom else [101, 101, 32768, 32768])
    for group in (await ec2("DescribeSecurityGroups", Filters=within))["SecurityGroups"]:
        ranges = [one for rule in group["IpPermissionsEgress"] for one in rule["Ipv6Ranges"]]
        assert ranges == ([] if group["GroupId"] == changed else [{"CidrIpv6": "::/0"}])
    blocks = (await shown(vpc))["Ipv6CidrBlockAssociationSet"]
    assert [one["Ipv6CidrBlock"] for one in blocks] == ["2001:db8::/56", "2001:db8:0:100::/56"]


async def test_an_ipv6_block_leaves_when_no_subnet_is_in_it(ec2, make, shown, refused):
    vpc = await make(AmazonProvidedIpv6CidrBlock=True)
    (block,) = (await shown(vpc))["Ipv6CidrBlockAssociationSet"]
    subnet = (await ec2("CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/24", Ipv6CidrBlock="2001:db8::/64"))["Subnet"]
    id_ = block["AssociationId"]
    assert await refused("DisassociateVpcCidrBlock", AssociationId=id_) == "DependencyViolation"
    await ec2("DeleteSubnet", SubnetId=subnet["SubnetId"])
    await ec2("DisassociateVpcCidrBlock", AssociationId=id_)
    assert (await shown(vpc))["Ipv6CidrBlockAssociationSet"] == []
    other = await make(AmazonProvidedIpv6CidrBlock=True)
    assert (await shown(other))["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == block["Ipv6CidrBlock"]


async def test_blocks_of_others_are_out_of_reach(cloud, make, shown):
    vpc = await make(AmazonProvidedIpv6CidrBlock=True)
    seen = await shown(vpc)
    for id_ in (
        seen["CidrBlockAssociationSet"][0]["AssociationId"],
        seen["Ipv6CidrBlockAssociationSet"][0]["AssociationId"],
    ):
        for elsewhere in (cloud.of("000000000002"), cloud.within("eu-central-1")):
            error = await elsewhere.refusal("ec2", "DisassociateVpcCidrBlock", AssociationId=id_)
            assert error.code == "InvalidVpcCidrBlockAssociationID.NotFound"
