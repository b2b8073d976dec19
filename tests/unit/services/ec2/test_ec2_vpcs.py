import pytest


@pytest.fixture
def make(ec2):
    async def make(cidr="10.0.0.0/16", **params):
        return (await ec2("CreateVpc", CidrBlock=cidr, **params))["Vpc"]

    return make


def within(vpc):
    return [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]


async def test_a_vpc_comes_with_what_it_needs(cloud, ec2, make):
    vpc = await make(
        "10.20.30.40/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "b"}]}]
    )
    association = vpc["CidrBlockAssociationSet"][0].pop("AssociationId")
    assert association.startswith("vpc-cidr-assoc-")
    (default,) = (await ec2("DescribeVpcs", Filters=[{"Name": "is-default", "Values": ["true"]}]))["Vpcs"]
    assert vpc == {
        "VpcId": vpc["VpcId"],
        "OwnerId": cloud.account,
        "State": "available",
        "CidrBlock": "10.20.0.0/16",
        "CidrBlockAssociationSet": [{"CidrBlock": "10.20.0.0/16", "CidrBlockState": {"State": "associated"}}],
        "Ipv6CidrBlockAssociationSet": [],
        "DhcpOptionsId": default["DhcpOptionsId"],
        "InstanceTenancy": "default",
        "IsDefault": False,
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": "off"},
        "Tags": [{"Key": "a", "Value": "b"}],
    }
    (table,) = (await ec2("DescribeRouteTables", Filters=within(vpc)))["RouteTables"]
    assert [(one["DestinationCidrBlock"], one["GatewayId"]) for one in table["Routes"]] == [("10.20.0.0/16", "local")]
    assert table["Associations"][0]["Main"] is True
    (acl,) = (await ec2("DescribeNetworkAcls", Filters=within(vpc)))["NetworkAcls"]
    assert (acl["IsDefault"], len(acl["Entries"]), acl["Associations"]) == (True, 4, [])
    (group,) = (await ec2("DescribeSecurityGroups", Filters=within(vpc)))["SecurityGroups"]
    assert (group["GroupName"], len(group["IpPermissions"]), len(group["IpPermissionsEgress"])) == ("default", 1, 1)
    for name in ("enableDnsSupport", "enableDnsHostnames"):
        described = await ec2("DescribeVpcAttribute", VpcId=vpc["VpcId"], Attribute=name)
        assert described[name[0].upper() + name[1:]]["Value"] == (name == "enableDnsSupport")


async def test_a_vpc_with_ipv6_is_open_to_it(cloud, ec2, make):
    vpc = await make(AmazonProvidedIpv6CidrBlock=True)
    (block,) = vpc["Ipv6CidrBlockAssociationSet"]
    assert block["Ipv6CidrBlock"] == "2001:db8::/56"
    assert (block["Ipv6CidrBlockState"], block["Ipv6Pool"]) == ({"State": "associated"}, "Amazon")
    assert block["NetworkBorderGroup"] == "us-east-1"
    (acl,) = (await ec2("DescribeNetworkAcls", Filters=within(vpc)))["NetworkAcls"]
    told = sorted(
        (one["RuleNumber"], one["RuleAction"]) for one in acl["Entries"] if one.get("Ipv6CidrBlock") == "::/0"
    )
    assert told == [(101, "allow"), (101, "allow"), (32768, "deny"), (32768, "deny")]
    (group,) = (await ec2("DescribeSecurityGroups", Filters=within(vpc)))["SecurityGroups"]
    assert group["IpPermissionsEgress"][0]["Ipv6Ranges"] == [{"CidrIpv6": "::/0"}]
    other = await cloud.within("eu-central-1").call(
        "ec2", "CreateVpc", CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True
    )
    assert other["Vpc"]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == "2001:db8:1000::/56"


async def test_no_two_vpcs_share_an_ipv6_block_and_a_deleted_one_gives_it_back(cloud, ec2, make):
    first = await make(AmazonProvidedIpv6CidrBlock=True)
    theirs = await cloud.of("000000000002").call(
        "ec2", "CreateVpc", CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True
    )
    assert theirs["Vpc"]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == "2001:db8:0:100::/56"
    await ec2("DeleteVpc", VpcId=first["VpcId"])
    again = await make(AmazonProvidedIpv6CidrBlock=True)
    assert again["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == "2001:db8::/56"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "MissingParameter"),
        ({"CidrBlock": "10.0.0.0"}, "InvalidParameterValue"),
        ({"CidrBlock": "10.0.0.0/255.255.0.0"}, "InvalidParameterValue"),
        ({"CidrBlock": "fd00::/16"}, "InvalidParameterValue"),
        ({"CidrBlock": "10.0.0.0/15"}, "InvalidVpc.Range"),
        ({"CidrBlock": "10.0.0.0/29"}, "InvalidVpc.Range"),
        ({"CidrBlock": "0.1.0.0/16"}, "InvalidVpc.Range"),
        ({"CidrBlock": "127.0.0.0/16"}, "InvalidVpc.Range"),
        ({"CidrBlock": "169.254.0.0/20"}, "InvalidVpc.Range"),
        ({"CidrBlock": "230.0.0.0/16"}, "InvalidVpc.Range"),
        ({"CidrBlock": "10.0.0.0/16", "InstanceTenancy": "host"}, "InvalidParameterValue"),
        ({"CidrBlock": "10.0.0.0/16", "Ipv6CidrBlock": "fd00::/56"}, "Unsupported"),
        ({"CidrBlock": "10.0.0.0/16", "Ipv4IpamPoolId": "ipam-pool-0123456789abcdef0"}, "Unsupported"),
        ({"CidrBlock": "10.0.0.0/16", "Ipv6CidrBlockNetworkBorderGroup": "us-east-1"}, "InvalidParameterCombination"),
        (
            {
                "CidrBlock": "10.0.0.0/16",
                "AmazonProvidedIpv6CidrBlock": True,
                "Ipv6CidrBlockNetworkBorderGroup": "us-east-1-atl-2",
            },
            "InvalidParameterValue",
        ),
    ],
)
async def test_what_is_no_vpc(cloud, refused, params, code):
    before = cloud.store.view().revision
    assert await refused("CreateVpc", **params) == code
    assert cloud.store.view().revision == before


async def test_five_to_a_region(cloud, ec2, make, refused):
    made = [await make() for _ in range(4)]
    assert await refused("CreateVpc", CidrBlock="10.0.0.0/16") == "VpcLimitExceeded"
    await ec2("DeleteVpc", VpcId=made[0]["VpcId"])
    await make()
    await cloud.within("eu-central-1").call("ec2", "CreateVpc", CidrBlock="10.0.0.0/16")


async def test_a_deleted_vpc_takes_along_what_came_with_it(cloud, ec2, make, refused):
    vpc = await make(AmazonProvidedIpv6CidrBlock=True)
    await ec2("DeleteVpc", VpcId=vpc["VpcId"])
    assert await refused("DeleteVpc", VpcId=vpc["VpcId"]) == "InvalidVpcID.NotFound"
    for operation, member in (
        ("DescribeRouteTables", "RouteTables"),
        ("DescribeNetworkAcls", "NetworkAcls"),
        ("DescribeSecurityGroups", "SecurityGroups"),
        ("DescribeSecurityGroupRules", "SecurityGroupRules"),
    ):
        assert all(one.get("VpcId") != vpc["VpcId"] for one in (await ec2(operation))[member])
    assert not cloud.store.view().claims(f"security-group-name/{vpc['VpcId']}")


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("CreateSubnet", {"CidrBlock": "10.0.0.0/24"}),
        ("CreateSecurityGroup", {"GroupName": "x", "Description": "x"}),
        ("CreateNetworkAcl", {}),
        ("CreateRouteTable", {}),
    ],
)
async def test_nothing_else_may_be_in_a_vpc_that_is_deleted(ec2, make, refused, operation, params):
    vpc = await make()
    await ec2(operation, VpcId=vpc["VpcId"], **params)
    assert await refused("DeleteVpc", VpcId=vpc["VpcId"]) == "DependencyViolation"
    assert len((await ec2("DescribeSecurityGroups", Filters=within(vpc)))["SecurityGroups"]) >= 1


async def test_an_attached_gateway_keeps_a_vpc(ec2, make, refused):
    vpc = (await make())["VpcId"]
    gateway = (await ec2("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
    await ec2("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    assert await refused("DeleteVpc", VpcId=vpc) == "DependencyViolation"
    await ec2("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    await ec2("DeleteVpc", VpcId=vpc)


async def test_vpcs_of_others_are_out_of_reach(cloud, make):
    vpc = (await make())["VpcId"]
    other = cloud.of("000000000002")
    for operation, params in (
        ("DeleteVpc", {}),
        ("ModifyVpcAttribute", {"EnableDnsSupport": {"Value": False}}),
        ("ModifyVpcTenancy", {"InstanceTenancy": "default"}),
        ("AssociateVpcCidrBlock", {"CidrBlock": "10.1.0.0/16"}),
        ("CreateSubnet", {"CidrBlock": "10.0.0.0/24"}),
    ):
        assert (await other.refusal("ec2", operation, VpcId=vpc, **params)).code == "InvalidVpcID.NotFound"


async def attribute(ec2, vpc, name):
    described = await ec2("DescribeVpcAttribute", VpcId=vpc, Attribute=name[0].lower() + name[1:])
    return described[name]["Value"]


async def test_attributes_one_at_a_time(ec2, make, refused):
    vpc = (await make())["VpcId"]
    for name in ("EnableDnsHostnames", "EnableNetworkAddressUsageMetrics", "EnableDnsSupport"):
        before = await attribute(ec2, vpc, name)
        await ec2("ModifyVpcAttribute", VpcId=vpc, **{name: {"Value": not before}})
        assert await attribute(ec2, vpc, name) is not before
    await ec2("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": False})
    yes = {"Value": True}
    assert await refused("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames=yes) == "InvalidParameterCombination"
    both = {"EnableDnsHostnames": yes, "EnableDnsSupport": yes}
    assert await refused("ModifyVpcAttribute", VpcId=vpc, **both) == "InvalidParameterCombination"
    assert await refused("ModifyVpcAttribute", VpcId=vpc) == "MissingParameter"
    assert await refused("ModifyVpcAttribute", VpcId=vpc, EnableDnsSupport={}) == "MissingParameter"
    assert await attribute(ec2, vpc, "EnableDnsSupport") is False


async def test_tenancy_goes_one_way(ec2, make, refused):
    vpc = await make(InstanceTenancy="dedicated")
    assert vpc["InstanceTenancy"] == "dedicated"
    asked = {"VpcId": vpc["VpcId"], "InstanceTenancy": "dedicated"}
    assert await refused("ModifyVpcTenancy", **asked) == "UnsupportedTenancy"
    assert await ec2("ModifyVpcTenancy", VpcId=vpc["VpcId"], InstanceTenancy="default") == {"ReturnValue": True}
    assert (await ec2("DescribeVpcs", VpcIds=[vpc["VpcId"]]))["Vpcs"][0]["InstanceTenancy"] == "default"


async def test_no_instance_shares_a_host_where_its_vpc_forbids_it(ec2, make, launch, refused, image):
    vpc = (await make(InstanceTenancy="dedicated"))["VpcId"]
    subnet = (await ec2("CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/24"))["Subnet"]["SubnetId"]
    wish = {"ImageId": image.id, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    assert await refused("RunInstances", **wish) == "Unsupported"
    await ec2("ModifyVpcTenancy", VpcId=vpc, InstanceTenancy="default")
    await launch(SubnetId=subnet)


async def test_a_default_vpc_can_be_made_again(ec2, refused):
    assert await refused("CreateDefaultVpc") == "DefaultVpcAlreadyExists"
    (vpc,) = (await ec2("DescribeVpcs"))["Vpcs"]
    for subnet in (await ec2("DescribeSubnets"))["Subnets"]:
        await ec2("DeleteSubnet", SubnetId=subnet["SubnetId"])
    gateway = (await ec2("DescribeInternetGateways"))["InternetGateways"][0]["InternetGatewayId"]
    await ec2("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc["VpcId"])
    await ec2("DeleteInternetGateway", InternetGatewayId=gateway)
    await ec2("DeleteVpc", VpcId=vpc["VpcId"])
    assert await refused("CreateDefaultSubnet", AvailabilityZone="us-east-1a") == "DefaultVpcDoesNotExist"
    again = (await ec2("CreateDefaultVpc"))["Vpc"]
    assert (again["IsDefault"], again["CidrBlock"]) == (True, "172.31.0.0/16")
    assert [one["CidrBlock"] for one in (await ec2("DescribeSubnets"))["Subnets"]] == [
        "172.31.0.0/20",
        "172.31.16.0/20",
    ]


async def test_a_default_subnet_can_be_made_again(ec2, refused):
    first, second = (await ec2("DescribeSubnets"))["Subnets"]
    zone = {"AvailabilityZone": "us-east-1a"}
    assert await refused("CreateDefaultSubnet", **zone) == "DefaultSubnetAlreadyExistsInAvailabilityZone"
    assert await refused("CreateDefaultSubnet") == "MissingParameter"
    await ec2("DeleteSubnet", SubnetId=first["SubnetId"])
    await ec2("CreateSubnet", VpcId=first["VpcId"], CidrBlock="172.31.0.0/28")
    made = (await ec2("CreateDefaultSubnet", **zone))["Subnet"]
    assert (made["CidrBlock"], made["MapPublicIpOnLaunch"]) == ("172.31.32.0/20", True)
    assert second["CidrBlock"] == "172.31.16.0/20"


async def test_what_no_vpc_has(cloud, ec2):
    (vpc,) = (await ec2("DescribeVpcs"))["Vpcs"]
    (link,) = (await ec2("DescribeVpcClassicLink"))["Vpcs"]
    assert (link["VpcId"], link["ClassicLinkEnabled"]) == (vpc["VpcId"], False)
    (names,) = (await ec2("DescribeVpcClassicLinkDnsSupport", VpcIds=[vpc["VpcId"]]))["Vpcs"]
    assert names == {"VpcId": vpc["VpcId"], "ClassicLinkDnsSupported": False}
    options = (await ec2("DescribeVpcBlockPublicAccessOptions"))["VpcBlockPublicAccessOptions"]
    assert (options["AwsAccountId"], options["InternetGatewayBlockMode"]) == (cloud.account, "off")
    found = await ec2("DescribeVpcBlockPublicAccessExclusions")
    assert found == {"VpcBlockPublicAccessExclusions": []}
