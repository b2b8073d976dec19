"""Managed prefix lists: versions, limits, who uses them, and the cloud's own."""

import pytest
from routing_lab import Lab

from pileus.base.config import s3_address

OWN = "com.amazonaws.us-east-1.s3"


@pytest.fixture
def make(ec2):
    """``await make("192.0.2.0/24", …)``: the id of a list of IPv4 CIDRs."""

    async def create(*cidrs, max_entries=5, **params):
        answer = await ec2(
            "CreateManagedPrefixList",
            PrefixListName="offices",
            AddressFamily="IPv4",
            MaxEntries=max_entries,
            Entries=[{"Cidr": cidr} for cidr in cidrs],
            **params,
        )
        return answer["PrefixList"]["PrefixListId"]

    return create


@pytest.fixture
def entries(ec2):
    async def cidrs(list_id, version=None):
        target = {} if version is None else {"TargetVersion": version}
        found = await ec2("GetManagedPrefixListEntries", PrefixListId=list_id, **target)
        return [one["Cidr"] for one in found["Entries"]]

    return cidrs


async def shown(ec2, list_id):
    return (await ec2("DescribeManagedPrefixLists", PrefixListIds=[list_id]))["PrefixLists"][0]


async def test_a_list_is_made(cloud, ec2, entries):
    tags = [{"Key": "a", "Value": "b"}]
    params = {
        "PrefixListName": "offices",
        "AddressFamily": "IPv6",
        "MaxEntries": 3,
        "Entries": [{"Cidr": "2001:db8::1/64", "Description": "Berlin"}],
        "TagSpecifications": [{"ResourceType": "prefix-list", "Tags": tags}],
        "ClientToken": "once",
    }
    answer = await ec2("CreateManagedPrefixList", **params)
    made = answer["PrefixList"]
    assert await ec2("CreateManagedPrefixList", **params) == answer
    id_ = made["PrefixListId"]
    assert made == {
        "PrefixListId": id_,
        "PrefixListArn": f"arn:aws:ec2:us-east-1:{cloud.account}:prefix-list/{id_}",
        "PrefixListName": "offices",
        "AddressFamily": "IPv6",
        "State": "create-complete",
        "MaxEntries": 3,
        "Version": 1,
        "OwnerId": cloud.account,
        "Tags": tags,
    }
    assert (await ec2("GetManagedPrefixListEntries", PrefixListId=id_))["Entries"] == [
        {"Cidr": "2001:db8::/64", "Description": "Berlin"}
    ]


async def test_each_change_makes_a_version(ec2, refused, make, entries):
    offices = await make("192.0.2.0/24", "198.51.100.0/24")
    change = {"PrefixListId": offices, "AddEntries": [{"Cidr": "10.0.0.0/8"}]}
    assert await refused("ModifyManagedPrefixList", **change) == "MissingParameter"
    assert await refused("ModifyManagedPrefixList", **change, CurrentVersion=2) == "PrefixListVersionMismatch"
    answer = await ec2("ModifyManagedPrefixList", **change, CurrentVersion=1, RemoveEntries=[{"Cidr": "192.0.2.0/24"}])
    assert (answer["PrefixList"]["Version"], answer["PrefixList"]["State"]) == (2, "modify-complete")
    assert await entries(offices) == ["198.51.100.0/24", "10.0.0.0/8"]
    assert await entries(offices, 1) == ["192.0.2.0/24", "198.51.100.0/24"]
    assert await refused("GetManagedPrefixListEntries", PrefixListId=offices, TargetVersion=9) == (
        "InvalidParameterValue"
    )
    restored = await ec2("RestoreManagedPrefixListVersion", PrefixListId=offices, PreviousVersion=1, CurrentVersion=2)
    assert (restored["PrefixList"]["Version"], restored["PrefixList"]["State"]) == (3, "restore-complete")
    assert await entries(offices) == ["192.0.2.0/24", "198.51.100.0/24"]
    code = await refused("RestoreManagedPrefixListVersion", PrefixListId=offices, PreviousVersion=1, CurrentVersion=2)
    assert code == "PrefixListVersionMismatch"


async def test_a_description_changes_with_its_entry(ec2, make):
    offices = await make("192.0.2.0/24")
    again = [{"Cidr": "192.0.2.0/24", "Description": "Berlin"}]
    await ec2("ModifyManagedPrefixList", PrefixListId=offices, CurrentVersion=1, AddEntries=again)
    assert (await ec2("GetManagedPrefixListEntries", PrefixListId=offices))["Entries"] == again


async def test_name_and_size_change_without_a_version(ec2, refused, make):
    offices = await make("192.0.2.0/24", "198.51.100.0/24")
    await ec2("ModifyManagedPrefixList", PrefixListId=offices, PrefixListName="all", MaxEntries=2)
    found = await shown(ec2, offices)
    assert (found["PrefixListName"], found["MaxEntries"], found["Version"]) == ("all", 2, 1)
    named = {"PrefixListId": offices}
    more = {"CurrentVersion": 1, "AddEntries": [{"Cidr": "10.0.0.0/8"}]}
    assert await refused("ModifyManagedPrefixList", **named, **more) == "PrefixListMaxEntriesExceeded"
    assert await refused("ModifyManagedPrefixList", **named, MaxEntries=1) == "PrefixListMaxEntriesExceeded"
    assert await refused("ModifyManagedPrefixList", **named, MaxEntries=3, **more) == "InvalidParameterCombination"


async def test_what_is_refused(ec2, refused, make):
    offices = await make("192.0.2.0/24")
    good = {"PrefixListName": "x", "AddressFamily": "IPv4", "MaxEntries": 2}
    for params, code in (
        ({"AddressFamily": "IPv5"}, "InvalidParameterValue"),
        ({"MaxEntries": 0}, "InvalidParameterValue"),
        ({"MaxEntries": 1001}, "InvalidParameterValue"),
        ({"PrefixListName": "com.amazonaws.mine"}, "InvalidParameterValue"),
        ({"PrefixListName": "x" * 256}, "InvalidParameterValue"),
        ({"Entries": [{"Cidr": "2001:db8::/64"}]}, "InvalidParameterValue"),
        ({"Entries": [{"Cidr": "10.0.0.0/8"}, {"Cidr": "10.0.0.1/8"}]}, "InvalidParameterValue"),
        ({"Entries": [{"Cidr": f"10.{n}.0.0/16"} for n in range(3)]}, "PrefixListMaxEntriesExceeded"),
        ({"MaxEntries": 200, "Entries": [{"Cidr": f"10.{n}.0.0/16"} for n in range(101)]}, "InvalidParameterValue"),
    ):
        assert await refused("CreateManagedPrefixList", **{**good, **params}) == code, params
    named = {"PrefixListId": offices, "CurrentVersion": 1}
    gone = [{"Cidr": "10.0.0.0/8"}]
    assert await refused("ModifyManagedPrefixList", **named, RemoveEntries=gone) == "InvalidPrefixListModification"
    both = {"AddEntries": gone, "RemoveEntries": gone}
    assert await refused("ModifyManagedPrefixList", **named, **both) == "InvalidParameterValue"
    code = await refused("DeleteManagedPrefixList", PrefixListId="pl-0123456789abcdef0")
    assert code == "InvalidPrefixListID.NotFound"
    assert await refused("DeleteManagedPrefixList", PrefixListId="x") == "InvalidPrefixListId.Malformed"


async def test_what_names_a_list_keeps_it(cloud, ec2, refused, make):
    lab, offices = await Lab.make(cloud), await make("192.0.2.0/24")
    table, gateway = await lab.table(), await lab.gateway()
    group = (await ec2("CreateSecurityGroup", GroupName="x", Description="x", VpcId=lab.vpc_id))["GroupId"]
    await ec2("CreateRoute", RouteTableId=table, DestinationPrefixListId=offices, GatewayId=gateway)
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "PrefixListIds": [{"PrefixListId": offices}]}
    await ec2("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[permission])
    users = await ec2("GetManagedPrefixListAssociations", PrefixListId=offices)
    assert users["PrefixListAssociations"] == [
        {"ResourceId": id_, "ResourceOwner": cloud.account} for id_ in (table, group)
    ]
    named = {"PrefixListId": offices}
    assert await refused("DeleteManagedPrefixList", **named) == "DependencyViolation"
    assert await refused("ModifyManagedPrefixList", **named, MaxEntries=501) == "RouteLimitExceeded"
    assert await refused("ModifyManagedPrefixList", **named, MaxEntries=61) == "RulesPerSecurityGroupLimitExceeded"
    await ec2("ModifyManagedPrefixList", **named, MaxEntries=60)
    await ec2("DeleteRoute", RouteTableId=table, DestinationPrefixListId=offices)
    await ec2("RevokeSecurityGroupIngress", GroupId=group, IpPermissions=[permission])
    answer = await ec2("DeleteManagedPrefixList", **named)
    assert answer["PrefixList"]["State"] == "delete-complete"


async def test_the_clouds_own_list_of_s3(cloud, ec2, refused):
    (own,) = (await ec2("DescribePrefixLists"))["PrefixLists"]
    address = s3_address(cloud.config.region("us-east-1"))
    assert (own["PrefixListName"], own["Cidrs"]) == (OWN, [f"{address}/32"])
    id_ = own["PrefixListId"]
    found = await shown(ec2, id_)
    assert (found["OwnerId"], found["PrefixListName"]) == ("AWS", OWN)
    assert "MaxEntries" not in found
    assert found["PrefixListArn"] == f"arn:aws:ec2:us-east-1:aws:prefix-list/{id_}"
    for operation, params in (
        ("DeleteManagedPrefixList", {}),
        ("ModifyManagedPrefixList", {"PrefixListName": "mine"}),
    ):
        assert await refused(operation, PrefixListId=id_, **params) == "InvalidPrefixListModification"
    far = cloud.within("eu-central-1")
    (theirs,) = (await far.call("ec2", "DescribePrefixLists"))["PrefixLists"]
    assert theirs["PrefixListId"] != id_
    assert (await far.refusal("ec2", "DescribePrefixLists", PrefixListIds=[id_])).code.endswith("NotFound")


async def test_lists_are_their_accounts(cloud, ec2, make):
    offices, other = await make("192.0.2.0/24"), cloud.of("000000000002")
    error = await other.refusal("ec2", "GetManagedPrefixListEntries", PrefixListId=offices)
    assert error.code == "InvalidPrefixListID.NotFound"
    listed = (await other.call("ec2", "DescribeManagedPrefixLists"))["PrefixLists"]
    assert [one["OwnerId"] for one in listed] == ["AWS"]
    for name, value in (("owner-id", cloud.account), ("prefix-list-id", offices), ("prefix-list-name", "offices")):
        found = await ec2("DescribeManagedPrefixLists", Filters=[{"Name": name, "Values": [value]}])
        assert [one["PrefixListId"] for one in found["PrefixLists"]] == [offices], name


async def test_pages_of_entries(ec2, make):
    offices = await make(*(f"10.{n}.0.0/16" for n in range(5)))
    first = await ec2("GetManagedPrefixListEntries", PrefixListId=offices, MaxResults=3)
    rest = await ec2("GetManagedPrefixListEntries", PrefixListId=offices, MaxResults=3, NextToken=first["NextToken"])
    assert (len(first["Entries"]), len(rest["Entries"])) == (3, 2)
    assert "NextToken" not in rest
