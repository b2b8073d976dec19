import pytest


@pytest.fixture
def create(ec2):
    async def group(name="web", **params):
        return (await ec2("CreateSecurityGroup", GroupName=name, Description="for tests", **params))["GroupId"]

    return group


def ssh(cidr="198.51.100.7/24", **more):
    return {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": cidr, **more}]}


def ids(result):
    return [group["GroupId"] for group in result["SecurityGroups"]]


async def only(ec2, group):
    return (await ec2("DescribeSecurityGroups", GroupIds=[group]))["SecurityGroups"][0]


EVERYTHING_OUT = [
    {
        "IpProtocol": "-1",
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
        "Ipv6Ranges": [],
        "UserIdGroupPairs": [],
        "PrefixListIds": [],
    }
]


async def test_a_new_group_lets_everything_out_and_nothing_in(cloud, ec2):
    tags = [{"Key": "Name", "Value": "x"}]
    made = await ec2(
        "CreateSecurityGroup",
        GroupName="web",
        Description="for the web",
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
    )
    assert made["Tags"] == tags
    vpc = (await ec2("DescribeVpcs"))["Vpcs"][0]["VpcId"]
    assert await only(ec2, made["GroupId"]) == {
        "GroupId": made["GroupId"],
        "GroupName": "web",
        "Description": "for the web",
        "OwnerId": cloud.account,
        "VpcId": vpc,
        "SecurityGroupArn": f"arn:aws:ec2:us-east-1:{cloud.account}:security-group/{made['GroupId']}",
        "IpPermissions": [],
        "IpPermissionsEgress": EVERYTHING_OUT,
        "Tags": tags,
    }


async def test_names(ec2, refused, create):
    await create("web")
    assert await refused("CreateSecurityGroup", GroupName="web", Description="x") == "InvalidGroup.Duplicate"
    for name in ("default", "sg-mine", "", "ä", "x" * 256):
        assert await refused("CreateSecurityGroup", GroupName=name, Description="x") == "InvalidParameterValue"
    assert await refused("CreateSecurityGroup", GroupName="a", Description="ü") == "InvalidParameterValue"
    missing = "vpc-0123456789abcdef0"
    assert (
        await refused("CreateSecurityGroup", GroupName="a", Description="x", VpcId=missing) == "InvalidVpcID.NotFound"
    )


async def test_finding_by_name_id_and_both(ec2, refused, create):
    web, db = await create("web"), await create("db")
    await create("other")
    assert ids(await ec2("DescribeSecurityGroups", GroupNames=["web"])) == [web]
    assert set(ids(await ec2("DescribeSecurityGroups", GroupNames=["web"], GroupIds=[db]))) == {web, db}
    assert await refused("DescribeSecurityGroups", GroupNames=["none"]) == "InvalidGroup.NotFound"
    assert await refused("DescribeSecurityGroups", GroupIds=["sg-0123456789abcdef0"]) == "InvalidGroup.NotFound"
    assert await refused("DescribeSecurityGroups", GroupIds=["web"]) == "InvalidGroupId.Malformed"


async def test_deleting(ec2, refused, create, launch):
    web, db = await create("web"), await create("db")
    await ec2(
        "AuthorizeSecurityGroupIngress",
        GroupId=db,
        IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": web}]}],
    )
    assert await refused("DeleteSecurityGroup", GroupId=web) == "DependencyViolation"
    assert await ec2("DeleteSecurityGroup", GroupName="db") == {"Return": True, "GroupId": db}
    await launch(SecurityGroupIds=[web])
    assert await refused("DeleteSecurityGroup", GroupId=web) == "DependencyViolation"
    default = ids(await ec2("DescribeSecurityGroups", GroupNames=["default"]))[0]
    assert await refused("DeleteSecurityGroup", GroupId=default) == "CannotDelete"
    assert await refused("DeleteSecurityGroup") == "MissingParameter"
    await create("db")


async def test_rules_are_nested_by_protocol_and_ports(cloud, ec2, create):
    web, db = await create("web"), await create("db")
    added = await ec2(
        "AuthorizeSecurityGroupIngress",
        GroupId=web,
        IpPermissions=[
            ssh(Description="office"),
            {"IpProtocol": "6", "FromPort": 22, "ToPort": 22, "Ipv6Ranges": [{"CidrIpv6": "2001:db8::1/32"}]},
            {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "UserIdGroupPairs": [{"GroupName": "db"}]},
        ],
    )
    assert [rule["CidrIpv4"] for rule in added["SecurityGroupRules"] if "CidrIpv4" in rule] == ["198.51.100.0/24"]
    assert (await only(ec2, web))["IpPermissions"] == [
        {
            "IpProtocol": "tcp",
            "FromPort": 22,
            "ToPort": 22,
            "IpRanges": [{"CidrIp": "198.51.100.0/24", "Description": "office"}],
            "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}],
            "UserIdGroupPairs": [],
            "PrefixListIds": [],
        },
        {
            "IpProtocol": "icmp",
            "FromPort": 8,
            "ToPort": -1,
            "IpRanges": [],
            "Ipv6Ranges": [],
            "UserIdGroupPairs": [{"GroupId": db, "UserId": cloud.account}],
            "PrefixListIds": [],
        },
    ]


async def test_the_flat_form(ec2, refused, create):
    web = await create()
    await ec2(
        "AuthorizeSecurityGroupIngress", GroupName="web", IpProtocol="tcp", FromPort=80, ToPort=81, CidrIp="10.0.0.0/8"
    )
    permission = (await only(ec2, web))["IpPermissions"][0]
    assert (permission["FromPort"], permission["ToPort"], permission["IpRanges"]) == (
        80,
        81,
        [{"CidrIp": "10.0.0.0/8"}],
    )
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, SourceSecurityGroupName="default")
    assert (await only(ec2, web))["IpPermissions"][1]["IpProtocol"] == "-1"
    assert (
        await refused("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[ssh()], IpProtocol="tcp")
        == "InvalidParameterCombination"
    )
    assert await refused("AuthorizeSecurityGroupIngress", GroupId=web) == "MissingParameter"


@pytest.mark.parametrize(
    ("permission", "code"),
    [
        ({"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}, "MissingParameter"),
        ({**ssh(), "IpProtocol": "smoke"}, "InvalidParameterValue"),
        ({**ssh(), "IpProtocol": "256"}, "InvalidParameterValue"),
        ({**ssh(), "FromPort": 23}, "InvalidParameterValue"),
        ({**ssh(), "ToPort": 65536}, "InvalidParameterValue"),
        ({"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}, "InvalidParameterValue"),
        (ssh("10.0.0.0"), "InvalidParameterValue"),
        (ssh("10.0.0.0/33"), "InvalidParameterValue"),
        (ssh("10.0.0.0/255.0.0.0"), "InvalidParameterValue"),
        (ssh("::/0"), "InvalidParameterValue"),
        (ssh(Description="x" * 256), "InvalidParameterValue"),
        (ssh(Description="caf\u00e9"), "InvalidParameterValue"),
        ({"IpProtocol": "icmp", "FromPort": -1, "ToPort": 3, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}, None),
        ({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2}, "InvalidParameterCombination"),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{}]}, "MissingParameter"),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupName": "none"}]}, "InvalidGroup.NotFound"),
        ({"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}, "InvalidPrefixListId.Malformed"),
    ],
)
async def test_permissions_that_are_refused(refused, create, permission, code):
    refusal = await refused("AuthorizeSecurityGroupIngress", GroupId=await create(), IpPermissions=[permission])
    assert refusal == (code or "InvalidParameterValue")


async def test_duplicates_and_limits(ec2, refused, create):
    web = await create()
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[ssh()])
    again = ssh("198.51.100.99/24", Description="other words")
    assert (
        await refused("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[again])
        == "InvalidPermission.Duplicate"
    )
    twice = [ssh("10.0.0.0/8"), ssh("10.0.0.1/8", Description="other words")]
    code = await refused("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=twice)
    assert code == "InvalidParameterValue"
    await ec2("AuthorizeSecurityGroupEgress", GroupId=web, IpPermissions=[ssh()])
    many = [ssh(f"10.0.{number}.0/24") for number in range(60)]
    code = await refused("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=many)
    assert code == "RulesPerSecurityGroupLimitExceeded"
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=many[:59])


async def test_revoking(ec2, refused, create):
    web = await create()
    added = await ec2(
        "AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[ssh(), ssh("10.0.0.0/8"), ssh("10.9.0.0/16")]
    )
    rules = [rule["SecurityGroupRuleId"] for rule in added["SecurityGroupRules"]]
    gone = await ec2("RevokeSecurityGroupIngress", GroupId=web, IpPermissions=[ssh("10.0.0.0/8")])
    assert [rule["SecurityGroupRuleId"] for rule in gone["RevokedSecurityGroupRules"]] == [rules[1]]
    await ec2("RevokeSecurityGroupIngress", GroupId=web, SecurityGroupRuleIds=[rules[2]])
    assert len((await only(ec2, web))["IpPermissions"][0]["IpRanges"]) == 1
    code = await refused("RevokeSecurityGroupIngress", GroupId=web, SecurityGroupRuleIds=[rules[1]])
    assert code == "InvalidSecurityGroupRuleId.NotFound"
    code = await refused("RevokeSecurityGroupEgress", GroupId=web, SecurityGroupRuleIds=[rules[0]])
    assert code == "InvalidSecurityGroupRuleId.NotFound"
    unknown = await ec2("RevokeSecurityGroupIngress", GroupId=web, IpPermissions=[ssh("10.0.0.0/8")])
    assert unknown["UnknownIpPermissions"][0]["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}]
    await ec2("RevokeSecurityGroupEgress", GroupId=web, IpPermissions=EVERYTHING_OUT)
    assert (await only(ec2, web))["IpPermissionsEgress"] == []


async def test_modifying_keeps_the_id(ec2, refused, create):
    web = await create()
    added = await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[ssh(), ssh("10.0.0.0/8")])
    first, second = (rule["SecurityGroupRuleId"] for rule in added["SecurityGroupRules"])

    def update(rule, **changes):
        wanted = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv4": "10.0.0.0/8", **changes}
        return {"GroupId": web, "SecurityGroupRules": [{"SecurityGroupRuleId": rule, "SecurityGroupRule": wanted}]}

    assert await ec2("ModifySecurityGroupRules", **update(first, Description="tls")) == {"Return": True}
    rule = (await ec2("DescribeSecurityGroupRules", SecurityGroupRuleIds=[first]))["SecurityGroupRules"][0]
    assert (rule["FromPort"], rule["CidrIpv4"], rule["Description"]) == (443, "10.0.0.0/8", "tls")
    assert await refused("ModifySecurityGroupRules", **update(second)) == "InvalidPermission.Duplicate"
    code = await refused("ModifySecurityGroupRules", **update(second, CidrIpv6="::/0"))
    assert code == "InvalidParameterCombination"
    code = await refused("ModifySecurityGroupRules", **update("sgr-0123456789abcdef0"))
    assert code == "InvalidSecurityGroupRuleId.NotFound"
    assert await refused("ModifySecurityGroupRules", **update("x")) == "InvalidSecurityGroupRuleId.Malformed"


async def test_listing_rules(ec2, refused, create):
    web = await create()
    tags = [{"Key": "a", "Value": "b"}]
    await ec2(
        "AuthorizeSecurityGroupIngress",
        GroupId=web,
        IpPermissions=[ssh(f"10.0.{number}.0/24") for number in range(5)],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": tags}],
    )
    of_web = [{"Name": "group-id", "Values": [web]}]
    rules = (await ec2("DescribeSecurityGroupRules", Filters=of_web))["SecurityGroupRules"]
    assert sorted(rule["IsEgress"] for rule in rules) == [False] * 5 + [True]
    assert sum(rule["Tags"] == tags for rule in rules) == 5
    first = await ec2("DescribeSecurityGroupRules", Filters=of_web, MaxResults=5)
    second = await ec2("DescribeSecurityGroupRules", Filters=of_web, MaxResults=5, NextToken=first["NextToken"])
    assert (len(first["SecurityGroupRules"]), len(second["SecurityGroupRules"])) == (5, 1)
    assert await refused("DescribeSecurityGroupRules", SecurityGroupRuleIds=["sgr-0123456789abcdef0"]) == (
        "InvalidSecurityGroupRuleId.NotFound"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("group-name", "web"),
        ("description", "for tests"),
        ("ip-permission.cidr", "198.51.100.0/24"),
        ("ip-permission.from-port", "22"),
        ("ip-permission.protocol", "tcp"),
        ("ip-permission.group-name", "web"),
        ("tag:Name", "x"),
        ("tag-key", "Name"),
    ],
)
async def test_filters(ec2, create, name, value):
    web = await create(TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": "Name", "Value": "x"}]}])
    permissions = [ssh(), {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": web}]}]
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=permissions)
    assert ids(await ec2("DescribeSecurityGroups", Filters=[{"Name": name, "Values": [value]}])) == [web]


async def test_pages(ec2, create):
    made = {await create(f"group-{number}") for number in range(6)}
    first = await ec2("DescribeSecurityGroups", MaxResults=5)
    second = await ec2("DescribeSecurityGroups", MaxResults=5, NextToken=first["NextToken"])
    assert made < {*ids(first), *ids(second)}


async def test_others_do_not_see_it(cloud, create):
    web = await create()
    other = cloud.of("000000000002")
    assert (await other.refusal("ec2", "DeleteSecurityGroup", GroupId=web)).code == "InvalidGroup.NotFound"
    assert web not in ids(await other.call("ec2", "DescribeSecurityGroups"))


async def test_spaces_at_the_end_of_a_name_are_trimmed(ec2, refused, create):
    made = await create("web  ")
    (group,) = (await ec2("DescribeSecurityGroups", GroupIds=[made]))["SecurityGroups"]
    assert group["GroupName"] == "web"
