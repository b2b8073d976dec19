"""Peers of rules beyond IPv4 CIDRs: IPv6, prefix lists, groups of peer VPCs; quotas; what rules say of themselves."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.records import Peering, PrefixList, SecurityGroup, Vpc
from pileus.records.peering import PeeringSide
from pileus.records.prefix_list import PrefixEntry
from pileus.records.security_group import group_name_scope
from pileus.records.vpc import Ipv6Block

OTHER = "000000000002"


@pytest.fixture
def create(ec2):
    async def group(name="web", **params):
        return (await ec2("CreateSecurityGroup", GroupName=name, Description="for tests", **params))["GroupId"]

    return group


@pytest.fixture
def make_vpc(cloud):
    def make(account=None, **fields):
        if account:
            cloud.of(account)
        vpc = Vpc(
            id=new_id("vpc"),
            account=account or cloud.account,
            region=cloud.region,
            cidrs=((new_id("vpc-cidr-assoc"), "10.9.0.0/16"),),
            dhcp_options_id="default",
            **fields,
        )
        return cloud.store.transact(lambda tx: tx.put(vpc))

    return make


@pytest.fixture
def make_group(cloud):
    def make(vpc, name="peer"):
        group = SecurityGroup(
            id=new_id("sg"), account=vpc.account, region=vpc.region, vpc_id=vpc.id, name=name, description="x"
        )

        def put(tx):
            tx.claim(group_name_scope(vpc.id), name, group.id)
            return tx.put(group)

        return cloud.store.transact(put)

    return make


@pytest.fixture
async def peered(cloud, ec2, make_vpc):
    """``peered(vpc)``: an active peering of the default VPC with another one."""
    own = (await ec2("DescribeVpcs"))["Vpcs"][0]["VpcId"]

    def peer(vpc, state="active"):
        now = cloud.clock.now()
        peering = Peering(
            id=new_id("pcx"),
            account=cloud.account,
            region=cloud.region,
            requester=PeeringSide(vpc_id=own, account=cloud.account, region=cloud.region),
            accepter=PeeringSide(vpc_id=vpc.id, account=vpc.account, region=vpc.region),
            requested=now,
            expires=now + timedelta(days=7),
            state=state,
        )
        return cloud.store.transact(lambda tx: tx.put(peering))

    return peer


@pytest.fixture
def make_list(cloud):
    def make(family="IPv4", most=20, account=None):
        cidr = "192.0.2.0/24" if family == "IPv4" else "2001:db8::/32"
        prefix_list = PrefixList(
            id=new_id("pl"),
            account=account or cloud.account,
            region=cloud.region,
            name="offices",
            address_family=family,
            max_entries=most,
            entries=(PrefixEntry(cidr=cidr),),
        )
        return cloud.store.transact(lambda tx: tx.put(prefix_list))

    return make


def change(cloud, kind, id_, **fields):
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(kind, id_), **fields)))


def pair(group, **more):
    return [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": [{"GroupId": group, **more}]}]


def lists(*ids, **more):
    named = [{"PrefixListId": id_, **more} for id_ in ids]
    return [{"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "PrefixListIds": named}]


async def only(ec2, group):
    return (await ec2("DescribeSecurityGroups", GroupIds=[group]))["SecurityGroups"][0]


async def test_a_group_in_a_vpc_with_ipv6_lets_all_of_it_out(cloud, ec2, create, make_vpc):
    block = Ipv6Block(id=new_id("vpc-cidr-assoc"), cidr="2001:db8:1::/56")
    made = await create(VpcId=make_vpc(ipv6_blocks=(block,)).id)
    (out,) = (await only(ec2, made))["IpPermissionsEgress"]
    assert (out["IpRanges"], out["Ipv6Ranges"]) == ([{"CidrIp": "0.0.0.0/0"}], [{"CidrIpv6": "::/0"}])


async def test_ipv6_and_icmp_are_told_as_they_were_given(ec2, create):
    web = await create()
    wanted = [
        {"IpProtocol": "58", "FromPort": 128, "ToPort": 0, "Ipv6Ranges": [{"CidrIpv6": "2001:DB8:0::1/64"}]},
        {"IpProtocol": "icmp", "FromPort": 3, "ToPort": 4, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        {"IpProtocol": "50", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
    ]
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=wanted)
    told = (await only(ec2, web))["IpPermissions"]
    assert [(one["IpProtocol"], one.get("FromPort"), one.get("ToPort")) for one in told] == [
        ("icmpv6", 128, 0),
        ("icmp", 3, 4),
        ("50", None, None),
    ]
    assert told[0]["Ipv6Ranges"] == [{"CidrIpv6": "2001:db8::/64"}]


async def test_prefix_lists(cloud, ec2, refused, create, make_list):
    web, offices = await create(), make_list()
    (rule,) = (
        await ec2("AuthorizeSecurityGroupEgress", GroupId=web, IpPermissions=lists(offices.id, Description="dns"))
    )["SecurityGroupRules"]
    assert (rule["PrefixListId"], rule["Description"]) == (offices.id, "dns")
    told = (await only(ec2, web))["IpPermissionsEgress"][1]
    assert told["PrefixListIds"] == [{"PrefixListId": offices.id, "Description": "dns"}]
    by_list = [{"Name": "egress.ip-permission.prefix-list-id", "Values": [offices.id]}]
    assert len((await ec2("DescribeSecurityGroups", Filters=by_list))["SecurityGroups"]) == 1
    add = {"GroupId": web, "IpPermissions": lists("pl-0123456789abcdef0")}
    assert await refused("AuthorizeSecurityGroupEgress", **add) == "InvalidPrefixListID.NotFound"
    theirs = make_list(account=OTHER)
    add = {"GroupId": web, "IpPermissions": lists(theirs.id)}
    assert await refused("AuthorizeSecurityGroupEgress", **add) == "InvalidPrefixListID.NotFound"
    revoked = await ec2("RevokeSecurityGroupEgress", GroupId=web, IpPermissions=lists(offices.id))
    assert revoked["RevokedSecurityGroupRules"][0]["PrefixListId"] == offices.id


async def test_a_prefix_list_counts_as_often_as_it_may_have_entries(ec2, refused, create, make_list):
    web = await create()
    add = {"GroupId": web, "IpPermissions": lists(make_list(most=60).id)}
    await ec2("AuthorizeSecurityGroupIngress", **add)
    one = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    over = "RulesPerSecurityGroupLimitExceeded"
    assert await refused("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=one) == over
    assert await refused("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=pair(web)) == over
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=lists(make_list("IPv6", most=59).id))
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[
        {"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
    ])  # fmt: skip
    db = await create("db")
    await ec2("AuthorizeSecurityGroupIngress", GroupId=db, IpPermissions=lists(make_list(most=500, account="AWS").id))


async def test_ipv4_and_ipv6_are_counted_apart(ec2, refused, create):
    web = await create()
    four = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": f"10.{n}.0.0/16"} for n in range(60)]}]
    six = [{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": f"2001:db8:{n:x}::/48"} for n in range(60)]}]
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=four)
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=six)
    for more in ({"IpRanges": [{"CidrIp": "192.0.2.1/32"}]}, {"Ipv6Ranges": [{"CidrIpv6": "::/0"}]}):
        code = await refused("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[{"IpProtocol": "-1", **more}])
        assert code == "RulesPerSecurityGroupLimitExceeded"
    rule = (await ec2("DescribeSecurityGroupRules", Filters=[{"Name": "group-id", "Values": [web]}]))[
        "SecurityGroupRules"
    ][1]
    changed = {"IpProtocol": "-1", "CidrIpv6": "fd00::/8"}
    code = await refused(
        "ModifySecurityGroupRules",
        GroupId=web,
        SecurityGroupRules=[{"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "SecurityGroupRule": changed}],
    )
    assert code == "RulesPerSecurityGroupLimitExceeded"


@pytest.mark.parametrize("account", [None, OTHER])
async def test_a_group_of_a_peer_vpc(cloud, ec2, refused, create, make_vpc, make_group, peered, account):
    web, vpc = await create(), make_vpc(account)
    theirs = make_group(vpc)
    named = pair(theirs.id, UserId=theirs.account)
    assert await refused("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=named) == "InvalidGroup.NotFound"
    peering = peered(vpc)
    (rule,) = (await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=named))["SecurityGroupRules"]
    assert rule["ReferencedGroupInfo"] == {
        "GroupId": theirs.id,
        "UserId": theirs.account,
        "VpcId": vpc.id,
        "VpcPeeringConnectionId": peering.id,
        "PeeringStatus": "active",
    }
    change(cloud, Peering, peering.id, state="deleted")
    (told,) = (await only(ec2, web))["IpPermissions"][0]["UserIdGroupPairs"]
    assert told["PeeringStatus"] == "deleted"


async def test_a_foreign_group_needs_its_owner_and_an_active_peering(refused, create, make_vpc, make_group, peered):
    web, vpc = await create(), make_vpc(OTHER)
    theirs = make_group(vpc)
    peering = peered(vpc, state="pending-acceptance")
    add = {"GroupId": web, "IpPermissions": pair(theirs.id, UserId=OTHER)}
    assert await refused("AuthorizeSecurityGroupIngress", **add) == "InvalidGroup.NotFound"
    assert peering.state == "pending-acceptance"
    peered(vpc)
    add = {"GroupId": web, "IpPermissions": pair(theirs.id)}
    assert await refused("AuthorizeSecurityGroupIngress", **add) == "InvalidGroup.NotFound"


async def test_stale_rules(cloud, ec2, create, make_vpc, make_group, peered):
    web, vpc = await create(), make_vpc(OTHER)
    theirs = make_group(vpc)
    peering = peered(vpc)
    named = pair(theirs.id, UserId=OTHER)
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=named)
    await ec2("AuthorizeSecurityGroupEgress", GroupId=web, IpPermissions=named)
    own = (await only(ec2, web))["VpcId"]
    assert (await ec2("DescribeStaleSecurityGroups", VpcId=own))["StaleSecurityGroupSet"] == []
    seen = await cloud.of(OTHER).call("ec2", "DescribeSecurityGroupReferences", GroupId=[theirs.id])
    assert seen["SecurityGroupReferenceSet"] == [
        {"GroupId": theirs.id, "ReferencingVpcId": own, "VpcPeeringConnectionId": peering.id}
    ]
    # The owner may remove it: references from other VPCs don't hold it.
    await cloud.of(OTHER).call("ec2", "DeleteSecurityGroup", GroupId=theirs.id)
    (stale,) = (await ec2("DescribeStaleSecurityGroups", VpcId=own))["StaleSecurityGroupSet"]
    assert (stale["GroupId"], stale["VpcId"]) == (web, own)
    for side in ("StaleIpPermissions", "StaleIpPermissionsEgress"):
        (permission,) = stale[side]
        assert permission["UserIdGroupPairs"][0]["GroupId"] == theirs.id
    revoked = await ec2("RevokeSecurityGroupIngress", GroupId=web, IpPermissions=named)
    assert len(revoked["RevokedSecurityGroupRules"]) == 1
    (stale,) = (await ec2("DescribeStaleSecurityGroups", VpcId=own))["StaleSecurityGroupSet"]
    assert stale["StaleIpPermissions"] == []


def known(told):
    return told.get("Description"), told["SecurityGroupRuleId"]


async def test_descriptions_are_changed_and_taken_away(ec2, refused, create, make_list):
    web, offices = await create(), make_list()
    here = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=[here, *lists(offices.id)])
    wanted = [{"Name": "group-id", "Values": [web]}]
    rules = (await ec2("DescribeSecurityGroupRules", Filters=wanted))["SecurityGroupRules"]
    ssh, dns = (next(one for one in rules if one["FromPort"] == port) for port in (22, 53))
    said = {**here, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "ssh"}]}
    operation = "UpdateSecurityGroupRuleDescriptionsIngress"
    assert await ec2(operation, GroupName="web", IpPermissions=[said]) == {"Return": True}
    by_id = [{"SecurityGroupRuleId": dns["SecurityGroupRuleId"], "Description": "names"}]
    await ec2(operation, GroupId=web, SecurityGroupRuleDescriptions=by_id)
    rules = (await ec2("DescribeSecurityGroupRules", Filters=wanted))["SecurityGroupRules"]
    assert ("ssh", ssh["SecurityGroupRuleId"]) in map(known, rules)
    assert ("names", dns["SecurityGroupRuleId"]) in map(known, rules)
    await ec2(operation, GroupId=web, IpPermissions=[here])
    rules = (await ec2("DescribeSecurityGroupRules", Filters=wanted))["SecurityGroupRules"]
    assert (None, ssh["SecurityGroupRuleId"]) in map(known, rules)
    for params, code in (
        ({"IpPermissions": [{**here, "ToPort": 23}]}, "InvalidPermission.NotFound"),
        ({"IpPermissions": [here], "SecurityGroupRuleDescriptions": by_id}, "InvalidParameterCombination"),
        ({"SecurityGroupRuleDescriptions": [{"SecurityGroupRuleId": "sgr-0123456789abcdef0"}]},
         "InvalidSecurityGroupRuleId.NotFound"),
        ({}, "MissingParameter"),
    ):  # fmt: skip
        assert await refused(operation, GroupId=web, **params) == code
    assert await refused("UpdateSecurityGroupRuleDescriptionsEgress", GroupId=web, IpPermissions=[here]) == (
        "InvalidPermission.NotFound"
    )


async def test_modifying_a_rule_changes_its_peer(ec2, create, make_list):
    web, offices = await create(), make_list()
    (rule,) = (await ec2("AuthorizeSecurityGroupIngress", GroupId=web, IpPermissions=pair(web)))["SecurityGroupRules"]
    for wanted, member in (
        ({"PrefixListId": offices.id}, "PrefixListId"),
        ({"CidrIpv6": "::/0"}, "CidrIpv6"),
        ({"ReferencedGroupId": web}, "ReferencedGroupInfo"),
        ({"CidrIpv4": "10.0.0.0/8"}, "CidrIpv4"),
    ):
        update = {
            "SecurityGroupRuleId": rule["SecurityGroupRuleId"],
            "SecurityGroupRule": {"IpProtocol": "-1", **wanted},
        }
        await ec2("ModifySecurityGroupRules", GroupId=web, SecurityGroupRules=[update])
        ids = [rule["SecurityGroupRuleId"]]
        (told,) = (await ec2("DescribeSecurityGroupRules", SecurityGroupRuleIds=ids))["SecurityGroupRules"]
        members = {"PrefixListId", "CidrIpv6", "ReferencedGroupInfo", "CidrIpv4"}
        assert {name for name in members if told.get(name)} == {member}


async def test_the_groups_of_a_vpc(ec2, refused, create, make_vpc, make_group):
    vpc = make_vpc()
    group = make_group(vpc)
    (told,) = (await ec2("GetSecurityGroupsForVpc", VpcId=vpc.id))["SecurityGroupForVpcs"]
    assert (told["GroupId"], told["PrimaryVpcId"], told["GroupName"]) == (group.id, vpc.id, "peer")
    none = [{"Name": "group-name", "Values": ["default"]}]
    assert (await ec2("GetSecurityGroupsForVpc", VpcId=vpc.id, Filters=none))["SecurityGroupForVpcs"] == []
    assert await refused("GetSecurityGroupsForVpc", VpcId="vpc-0123456789abcdef0") == "InvalidVpcID.NotFound"


async def test_only_so_many_groups(cloud, create, ec2, refused):
    vpc = (await ec2("DescribeVpcs"))["Vpcs"][0]["VpcId"]

    def fill(tx):
        for number in range(2500):
            fields = {"vpc_id": vpc, "name": f"filling-{number}", "description": "x"}
            tx.put(SecurityGroup(id=new_id("sg"), account=cloud.account, region=cloud.region, **fields))

    cloud.store.transact(fill)
    assert await refused("CreateSecurityGroup", GroupName="one", Description="x") == "SecurityGroupLimitExceeded"
