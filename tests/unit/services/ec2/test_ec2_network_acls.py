import pytest
from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.records import Vpc
from pileus.records.vpc import Ipv6Block


@pytest.fixture
async def vpc(ec2):
    return (await ec2("DescribeVpcs"))["Vpcs"][0]["VpcId"]


@pytest.fixture
async def default(ec2):
    return (await ec2("DescribeNetworkAcls"))["NetworkAcls"][0]


@pytest.fixture
async def acl(ec2, vpc):
    return (await ec2("CreateNetworkAcl", VpcId=vpc))["NetworkAcl"]["NetworkAclId"]


def entry(acl_id, number=100, **fields):
    made = {
        "NetworkAclId": acl_id,
        "RuleNumber": number,
        "Protocol": "-1",
        "RuleAction": "allow",
        "Egress": False,
        "CidrBlock": "10.0.0.0/8",
        **fields,
    }
    return {name: value for name, value in made.items() if value is not None}


async def only(ec2, acl):
    return (await ec2("DescribeNetworkAcls", NetworkAclIds=[acl]))["NetworkAcls"][0]


async def entries(ec2, acl):
    return [one for one in (await only(ec2, acl))["Entries"] if one["RuleNumber"] < 32767]


async def test_a_new_list_denies_everything(cloud, ec2, vpc):
    tags = [{"Key": "a", "Value": "b"}]
    params = {"VpcId": vpc, "ClientToken": "t", "TagSpecifications": [{"ResourceType": "network-acl", "Tags": tags}]}
    made = await ec2("CreateNetworkAcl", **params)
    assert await ec2("CreateNetworkAcl", **params) == made
    assert made["ClientToken"] == "t"
    deny = {"RuleNumber": 32767, "RuleAction": "deny", "Protocol": "-1", "CidrBlock": "0.0.0.0/0"}
    assert made["NetworkAcl"] == {
        "NetworkAclId": made["NetworkAcl"]["NetworkAclId"],
        "VpcId": vpc,
        "OwnerId": cloud.account,
        "IsDefault": False,
        "Entries": [{**deny, "Egress": True}, {**deny, "Egress": False}],
        "Associations": [],
        "Tags": tags,
    }
    assert await only(ec2, made["NetworkAcl"]["NetworkAclId"]) == made["NetworkAcl"]


async def test_with_ipv6_it_denies_that_too(cloud, ec2, vpc):
    block = Ipv6Block(id=new_id("vpc-cidr-assoc"), cidr="2001:db8:1::/56")
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(Vpc, vpc), ipv6_blocks=(block,))))
    made = (await ec2("CreateNetworkAcl", VpcId=vpc))["NetworkAcl"]["Entries"]
    assert [(one["RuleNumber"], one.get("Ipv6CidrBlock")) for one in made if one["Egress"]] == [
        (32767, None),
        (32768, "::/0"),
    ]


async def test_entries_are_listed_as_they_were_given(ec2, acl):
    await ec2("CreateNetworkAclEntry", **entry(acl, 200, Protocol="6", PortRange={"From": 80, "To": 443}))
    await ec2("CreateNetworkAclEntry", **entry(acl, 100, Protocol="udp", PortRange={"From": 53, "To": 53}, Egress=True))
    icmp6 = {"Protocol": "58", "CidrBlock": None, "Ipv6CidrBlock": "2001:DB8::5/32"}
    await ec2("CreateNetworkAclEntry", **entry(acl, 100, IcmpTypeCode={"Type": 128, "Code": -1}, **icmp6))
    await ec2("CreateNetworkAclEntry", **entry(acl, 32766, Protocol="58", RuleAction="deny", CidrBlock="10.1.2.3/16"))
    assert await entries(ec2, acl) == [
        {
            "RuleNumber": 100,
            "Egress": True,
            "RuleAction": "allow",
            "Protocol": "17",
            "CidrBlock": "10.0.0.0/8",
            "PortRange": {"From": 53, "To": 53},
        },
        {
            "RuleNumber": 100,
            "Egress": False,
            "RuleAction": "allow",
            "Protocol": "58",
            "Ipv6CidrBlock": "2001:db8::/32",
            "IcmpTypeCode": {"Type": 128, "Code": -1},
        },
        {
            "RuleNumber": 200,
            "Egress": False,
            "RuleAction": "allow",
            "Protocol": "6",
            "CidrBlock": "10.0.0.0/8",
            "PortRange": {"From": 80, "To": 443},
        },
        {"RuleNumber": 32766, "Egress": False, "RuleAction": "deny", "Protocol": "58", "CidrBlock": "10.1.0.0/16"},
    ]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"RuleNumber": 0}, "InvalidParameterValue"),
        ({"RuleNumber": 32767}, "InvalidParameterValue"),
        ({"RuleAction": "reject"}, "InvalidParameterValue"),
        ({"Protocol": "256"}, "InvalidParameterValue"),
        ({"Protocol": "smoke"}, "InvalidParameterValue"),
        ({"Protocol": "6"}, "MissingParameter"),
        ({"Protocol": "17", "PortRange": {"From": 5}}, "MissingParameter"),
        ({"Protocol": "6", "PortRange": {"From": 5, "To": 4}}, "InvalidParameterValue"),
        ({"Protocol": "6", "PortRange": {"From": 5, "To": 65536}}, "InvalidParameterValue"),
        ({"Protocol": "1"}, "MissingParameter"),
        ({"Protocol": "1", "IcmpTypeCode": {"Type": 8}}, "MissingParameter"),
        ({"Protocol": "1", "IcmpTypeCode": {"Type": -1, "Code": 3}}, "InvalidParameterValue"),
        ({"Protocol": "58", "CidrBlock": None, "Ipv6CidrBlock": "::/0"}, "MissingParameter"),
        ({"CidrBlock": None}, "MissingParameter"),
        ({"CidrBlock": "10.0.0.0"}, "InvalidParameterValue"),
        ({"CidrBlock": None, "Ipv6CidrBlock": "10.0.0.0/8"}, "InvalidParameterValue"),
        ({"Ipv6CidrBlock": "::/0"}, "InvalidParameterCombination"),
        ({"NetworkAclId": "acl-0123456789abcdef0"}, "InvalidNetworkAclID.NotFound"),
    ],
)
async def test_entries_that_are_refused(cloud, ec2, refused, acl, fields, code):
    await ec2("CreateNetworkAclEntry", **entry(acl))
    before = cloud.store.view().revision
    new = {"RuleNumber": 5, **fields}
    assert await refused("CreateNetworkAclEntry", **entry(acl, **new)) == code
    assert await refused("ReplaceNetworkAclEntry", **entry(acl, **fields)) == code
    assert cloud.store.view().revision == before


async def test_numbers_are_given_once_in_each_direction(cloud, ec2, refused, acl):
    await ec2("CreateNetworkAclEntry", **entry(acl))
    await ec2("CreateNetworkAclEntry", **entry(acl, Egress=True))
    before = cloud.store.view().revision
    await ec2("CreateNetworkAclEntry", **entry(acl, CidrBlock="10.1.2.3/8"))  # the same as the first
    assert await refused("CreateNetworkAclEntry", **entry(acl, RuleAction="deny")) == "NetworkAclEntryAlreadyExists"
    assert cloud.store.view().revision == before


async def test_replacing_and_deleting(ec2, refused, acl):
    await ec2("CreateNetworkAclEntry", **entry(acl))
    await ec2("ReplaceNetworkAclEntry", **entry(acl, RuleAction="deny", CidrBlock=None, Ipv6CidrBlock="::/0"))
    (one,) = await entries(ec2, acl)
    assert (one["RuleAction"], one["Ipv6CidrBlock"], one.get("CidrBlock")) == ("deny", "::/0", None)
    missing = "InvalidNetworkAclEntry.NotFound"
    assert await refused("ReplaceNetworkAclEntry", **entry(acl, Egress=True)) == missing
    named = {"NetworkAclId": acl, "RuleNumber": 100}
    assert await refused("DeleteNetworkAclEntry", **named, Egress=True) == missing
    await ec2("DeleteNetworkAclEntry", **named, Egress=False)
    assert await entries(ec2, acl) == []
    last = {"NetworkAclId": acl, "RuleNumber": 32767, "Egress": False}
    assert await refused("DeleteNetworkAclEntry", **last) == "InvalidParameterValue"


async def test_only_so_many_entries_of_a_family_in_a_direction(ec2, refused, acl):
    for number in range(1, 20):
        await ec2("CreateNetworkAclEntry", **entry(acl, number))
    assert await refused("CreateNetworkAclEntry", **entry(acl, 20)) == "NetworkAclEntryLimitExceeded"
    await ec2("ReplaceNetworkAclEntry", **entry(acl, 19, RuleAction="deny"))
    await ec2("CreateNetworkAclEntry", **entry(acl, 20, Egress=True))
    await ec2("CreateNetworkAclEntry", **entry(acl, 20, CidrBlock=None, Ipv6CidrBlock="::/0"))


async def test_another_list_for_a_subnet(ec2, refused, acl, default):
    before = default["Associations"][0]
    replaced = {"AssociationId": before["NetworkAclAssociationId"], "NetworkAclId": acl}
    new = (await ec2("ReplaceNetworkAclAssociation", **replaced))["NewAssociationId"]
    assert new != before["NetworkAclAssociationId"]
    assert (await only(ec2, acl))["Associations"] == [
        {"NetworkAclAssociationId": new, "NetworkAclId": acl, "SubnetId": before["SubnetId"]}
    ]
    left = (await only(ec2, default["NetworkAclId"]))["Associations"]
    assert before["SubnetId"] not in [one["SubnetId"] for one in left]
    assert await refused("ReplaceNetworkAclAssociation", **replaced) == "InvalidAssociationID.NotFound"
    again = await ec2("ReplaceNetworkAclAssociation", AssociationId=new, NetworkAclId=acl)
    assert again == {"NewAssociationId": new}
    assert await refused("DeleteNetworkAcl", NetworkAclId=acl) == "DependencyViolation"
    await ec2("ReplaceNetworkAclAssociation", AssociationId=new, NetworkAclId=default["NetworkAclId"])
    await ec2("DeleteNetworkAcl", NetworkAclId=acl)
    assert await refused("DescribeNetworkAcls", NetworkAclIds=[acl]) == "InvalidNetworkAclID.NotFound"


async def test_a_list_of_another_vpc_or_account(cloud, ec2, refused, default):
    vpc = Vpc(
        id=new_id("vpc"),
        account=cloud.account,
        region=cloud.region,
        cidrs=((new_id("vpc-cidr-assoc"), "10.9.0.0/16"),),
        dhcp_options_id="default",
    )
    cloud.store.transact(lambda tx: tx.put(vpc))
    there = (await ec2("CreateNetworkAcl", VpcId=vpc.id))["NetworkAcl"]["NetworkAclId"]
    association = default["Associations"][0]["NetworkAclAssociationId"]
    replaced = {"AssociationId": association, "NetworkAclId": there}
    assert await refused("ReplaceNetworkAclAssociation", **replaced) == "InvalidParameterValue"
    other = cloud.of("000000000002")
    assert (await other.refusal("ec2", "DeleteNetworkAcl", NetworkAclId=there)).code == "InvalidNetworkAclID.NotFound"
    theirs = (await other.call("ec2", "DescribeNetworkAcls"))["NetworkAcls"][0]["NetworkAclId"]
    error = await other.refusal("ec2", "ReplaceNetworkAclAssociation", AssociationId=association, NetworkAclId=theirs)
    assert error.code == "InvalidAssociationID.NotFound"


async def test_the_default_list_stays(refused, default):
    assert await refused("DeleteNetworkAcl", NetworkAclId=default["NetworkAclId"]) == "InvalidParameterValue"


async def test_only_so_many_lists_in_a_vpc(ec2, refused, vpc):
    for _ in range(199):
        await ec2("CreateNetworkAcl", VpcId=vpc)
    assert await refused("CreateNetworkAcl", VpcId=vpc) == "NetworkAclLimitExceeded"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("entry.cidr", "10.0.0.0/8"),
        ("entry.ipv6-cidr", "2001:db8::/32"),
        ("entry.protocol", "tcp"),
        ("entry.protocol", "6"),
        ("entry.port-range.from", "80"),
        ("entry.port-range.to", "443"),
        ("entry.icmp.type", "128"),
        ("entry.icmp.code", "0"),
        ("entry.rule-number", "7"),
        ("entry.egress", "true"),
        ("default", "false"),
    ],
)
async def test_filters(ec2, acl, name, value):
    await ec2("CreateNetworkAclEntry", **entry(acl, 7, Protocol="6", PortRange={"From": 80, "To": 443}))
    six = {"Protocol": "58", "CidrBlock": None, "Ipv6CidrBlock": "2001:db8::/32"}
    await ec2("CreateNetworkAclEntry", **entry(acl, 8, IcmpTypeCode={"Type": 128, "Code": 0}, **six))
    found = (await ec2("DescribeNetworkAcls", Filters=[{"Name": name, "Values": [value]}]))["NetworkAcls"]
    assert acl in [one["NetworkAclId"] for one in found]
    none = (await ec2("DescribeNetworkAcls", Filters=[{"Name": name, "Values": ["99"]}]))["NetworkAcls"]
    assert none == []
