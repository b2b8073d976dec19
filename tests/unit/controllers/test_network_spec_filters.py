"""Groups, ACLs and captures in what hosts are told."""

from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from pileus.base.config import Config
from pileus.base.ids import new_id
from pileus.controllers.network_spec import network_spec
from pileus.controllers.reading import Reading
from pileus.hostapi.network_spec import AclEntrySpec, RuleSpec
from pileus.records import Peering, PrefixList, SecurityGroup, Vpc
from pileus.records.peering import PeeringSide
from pileus.records.prefix_list import PrefixEntry
from pileus.testing.in_process import HOST, DirectCloud


@pytest.fixture
def cloud(tmp_path):
    cloud = DirectCloud.open(tmp_path, Config())
    cloud.add_image()
    yield cloud
    cloud.close()


@pytest.fixture
def ec2(cloud):
    return partial(cloud.call, "ec2")


@pytest.fixture
async def interface(ec2):
    image = (await ec2("DescribeImages"))["Images"][0]["ImageId"]
    made = await ec2("RunInstances", ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    return made["Instances"][0]["NetworkInterfaces"][0]


@pytest.fixture
def told(cloud, interface):
    """The default VPC as its host is told."""

    def vpc():
        spec = network_spec(Reading(cloud.store.view()), HOST, cloud.config)
        return next(one for one in spec.vpcs if one.vpc_id == interface["VpcId"])

    return vpc


def put(cloud, record):
    return cloud.store.transact(lambda tx: tx.put(record))


async def test_rules_whose_peer_is_gone_are_not_told(cloud, ec2, interface, told):
    mine = {"account": cloud.account, "region": cloud.region}
    cidrs = ((new_id("vpc-cidr-assoc"), "10.9.0.0/16"),)
    vpc = put(cloud, Vpc(id=new_id("vpc"), cidrs=cidrs, dhcp_options_id="default", **mine))
    theirs = put(cloud, SecurityGroup(id=new_id("sg"), vpc_id=vpc.id, name="theirs", description="x", **mine))
    now = cloud.clock.now()
    peering = put(
        cloud,
        Peering(
            id=new_id("pcx"),
            requester=PeeringSide(vpc_id=interface["VpcId"], **mine),
            accepter=PeeringSide(vpc_id=vpc.id, **mine),
            requested=now,
            expires=now + timedelta(days=7),
            state="active",
            **mine,
        ),
    )
    group = interface["Groups"][0]["GroupId"]
    pair = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": theirs.id}]}]
    await ec2("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=pair)
    named = RuleSpec(protocol="tcp", from_port=22, to_port=22, group=theirs.id)

    def ingress():
        return {one.group_id: one.ingress for one in told().groups}

    assert named in ingress()[group]
    assert theirs.id in ingress()
    peering = cloud.store.view().get(Peering, peering.id)
    put(cloud, replace(peering, state="deleted"))
    assert named not in ingress()[group]
    assert theirs.id not in ingress()


async def test_prefix_lists_are_told_once_each(cloud, ec2, interface, told):
    offices = put(
        cloud,
        PrefixList(
            id=new_id("pl"),
            account=cloud.account,
            region=cloud.region,
            name="offices",
            address_family="IPv4",
            max_entries=5,
            entries=(PrefixEntry(cidr="192.0.2.0/24"), PrefixEntry(cidr="10.0.0.0/8")),
        ),
    )
    group = interface["Groups"][0]["GroupId"]
    for protocol in ("50", "51"):
        named = [{"IpProtocol": protocol, "PrefixListIds": [{"PrefixListId": offices.id}]}]
        await ec2("AuthorizeSecurityGroupEgress", GroupId=group, IpPermissions=named)
    (spec,) = told().prefix_lists
    assert (spec.prefix_list_id, spec.cidrs) == (offices.id, ("10.0.0.0/8", "192.0.2.0/24"))
    (rules,) = (one.egress for one in told().groups if one.group_id == group)
    assert RuleSpec(protocol="50", prefix_list=offices.id) in rules


async def test_acls_are_told_in_the_order_in_which_they_are_tried(ec2, interface, told):
    made = (await ec2("CreateNetworkAcl", VpcId=interface["VpcId"]))["NetworkAcl"]["NetworkAclId"]
    common = {"NetworkAclId": made, "RuleAction": "allow", "Egress": False}
    ports = {"Protocol": "6", "PortRange": {"From": 22, "To": 23}, "CidrBlock": "10.0.0.0/8"}
    await ec2("CreateNetworkAclEntry", RuleNumber=20, **common, **ports)
    icmp = {"Protocol": "58", "IcmpTypeCode": {"Type": 128, "Code": -1}, "Ipv6CidrBlock": "::/0"}
    await ec2("CreateNetworkAclEntry", RuleNumber=10, **common, **icmp)
    acls = (await ec2("DescribeNetworkAcls"))["NetworkAcls"]
    association = next(
        one["NetworkAclAssociationId"]
        for acl in acls
        for one in acl["Associations"]
        if one["SubnetId"] == interface["SubnetId"]
    )
    await ec2("ReplaceNetworkAclAssociation", AssociationId=association, NetworkAclId=made)
    (acl,) = told().acls
    assert acl.ingress == (
        AclEntrySpec(allow=True, protocol="icmpv6", cidr="::/0", from_port=128),
        AclEntrySpec(allow=True, protocol="tcp", cidr="10.0.0.0/8", from_port=22, to_port=23),
        AclEntrySpec(allow=False, protocol="-1", cidr="0.0.0.0/0"),
    )
    assert acl.egress == (AclEntrySpec(allow=False, protocol="-1", cidr="0.0.0.0/0"),)


@pytest.mark.parametrize(
    ("traffic", "kept"), [("ACCEPT", (True, False)), ("REJECT", (False, True)), ("ALL", (True, True))]
)
async def test_captures_are_what_flow_logs_want(cloud, ec2, interface, told, traffic, kept):
    assert told().captures == ()
    await cloud.call("s3", "CreateBucket", Bucket="flows")
    await ec2(
        "CreateFlowLogs",
        ResourceIds=[interface["SubnetId"]],
        ResourceType="Subnet",
        TrafficType=traffic,
        LogDestinationType="s3",
        LogDestination="arn:aws:s3:::flows",
    )
    (capture,) = told().captures
    assert capture.interface_id == interface["NetworkInterfaceId"]
    assert (capture.accepted, capture.rejected) == kept
