"""VPC peering, from both sides."""

import pytest
from routing_lab import Lab, settle

from pileus.records import Peering

OTHER = "000000000002"
DAY = 86400


@pytest.fixture
async def mine(cloud):
    return await Lab.make(cloud)


@pytest.fixture
async def theirs(cloud):
    return await Lab.make(cloud.of(OTHER), "10.1.0.0/16")


@pytest.fixture
async def peering(mine, theirs):
    """An open request of ours to the other account."""
    return await ask(mine, theirs)


async def ask(mine, theirs, **params):
    there = {"PeerOwnerId": theirs.cloud.account, "PeerRegion": theirs.cloud.region}
    made = await mine.call("CreateVpcPeeringConnection", VpcId=mine.vpc_id, PeerVpcId=theirs.vpc_id, **there, **params)
    return made["VpcPeeringConnection"]["VpcPeeringConnectionId"]


def named(peering):
    return {"VpcPeeringConnectionId": peering}


async def seen(lab, peering):
    (found,) = (await lab.call("DescribeVpcPeeringConnections", VpcPeeringConnectionIds=[peering]))[
        "VpcPeeringConnections"
    ]
    return found


async def state(lab, peering):
    return (await seen(lab, peering))["Status"]["Code"]


async def test_a_request_is_accepted_by_the_other_account(cloud, mine, theirs):
    tags = [{"Key": "a", "Value": "b"}]
    made = await mine.call(
        "CreateVpcPeeringConnection",
        VpcId=mine.vpc_id,
        PeerVpcId=theirs.vpc_id,
        PeerOwnerId=OTHER,
        TagSpecifications=[{"ResourceType": "vpc-peering-connection", "Tags": tags}],
    )
    peering = made["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    assert made["VpcPeeringConnection"]["Status"]["Code"] == "initiating-request"
    asked = await seen(theirs, peering)
    assert asked["Status"] == {"Code": "pending-acceptance", "Message": f"Pending Acceptance by {OTHER}"}
    assert asked["RequesterVpcInfo"]["CidrBlock"] == "10.0.0.0/16"
    assert asked["AccepterVpcInfo"] == {"VpcId": theirs.vpc_id, "OwnerId": OTHER, "Region": "us-east-1"}
    assert ((await seen(mine, peering))["Tags"], asked["Tags"]) == (tags, [])
    assert await mine.refused("AcceptVpcPeeringConnection", **named(peering)) == "OperationNotPermitted"
    answer = await theirs.call("AcceptVpcPeeringConnection", **named(peering))
    assert answer["VpcPeeringConnection"]["Status"]["Code"] == "provisioning"
    for lab in (mine, theirs):
        found = await seen(lab, peering)
        assert found["Status"] == {"Code": "active", "Message": "Active"}
        assert found["AccepterVpcInfo"]["CidrBlockSet"] == [{"CidrBlock": "10.1.0.0/16"}]
        assert "ExpirationTime" not in found
    assert await theirs.refused("AcceptVpcPeeringConnection", **named(peering)) == "InvalidStateTransition"
    stranger = cloud.of("000000000003")
    error = await stranger.refusal("ec2", "DescribeVpcPeeringConnections", VpcPeeringConnectionIds=[peering])
    assert error.code == "InvalidVpcPeeringConnectionID.NotFound"


async def test_a_request_is_rejected(cloud, mine, theirs, peering):
    assert await mine.refused("RejectVpcPeeringConnection", **named(peering)) == "OperationNotPermitted"
    assert await theirs.refused("DeleteVpcPeeringConnection", **named(peering)) == "InvalidStateTransition"
    await theirs.call("RejectVpcPeeringConnection", **named(peering))
    assert await state(mine, peering) == "rejected"
    assert await mine.refused("DeleteVpcPeeringConnection", **named(peering)) == "InvalidStateTransition"
    assert await theirs.refused("AcceptVpcPeeringConnection", **named(peering)) == "InvalidStateTransition"
    cloud.clock.advance(2 * 3600 + 1)
    settle(cloud)
    assert (await mine.call("DescribeVpcPeeringConnections"))["VpcPeeringConnections"] == []


async def test_a_request_expires_after_a_week(cloud, mine, theirs, peering):
    cloud.clock.advance(7 * DAY - 1)
    settle(cloud)
    assert await state(mine, peering) == "pending-acceptance"
    cloud.clock.advance(1)
    assert await theirs.refused("AcceptVpcPeeringConnection", **named(peering)) == "InvalidStateTransition"
    assert await state(mine, peering) == "expired"
    settle(cloud)
    assert await state(theirs, peering) == "expired"
    cloud.clock.advance(2 * DAY)
    settle(cloud)
    code = await mine.refused("DescribeVpcPeeringConnections", VpcPeeringConnectionIds=[peering])
    assert code == "InvalidVpcPeeringConnectionID.NotFound"


@pytest.mark.parametrize("by", ["mine", "theirs"])
async def test_either_side_ends_it(request, mine, theirs, peering, by):
    await theirs.call("AcceptVpcPeeringConnection", **named(peering))
    lab = mine if by == "mine" else theirs
    await lab.call("DeleteVpcPeeringConnection", **named(peering))
    found = await seen(mine, peering)
    assert found["Status"] == {"Code": "deleted", "Message": f"Deleted by {lab.cloud.account}"}
    assert await ask(mine, theirs) != peering


async def test_the_requester_takes_it_back(mine, theirs, peering):
    await mine.call("DeleteVpcPeeringConnection", **named(peering))
    assert await state(theirs, peering) == "deleted"


async def test_overlapping_blocks_fail(cloud, mine, theirs):
    same = await Lab.make(cloud, "10.0.128.0/17")
    peering = await ask(mine, same)
    failed = await seen(mine, peering)
    assert failed["Status"]["Code"] == "failed"
    assert "overlapping" in failed["Status"]["Message"]
    assert await mine.refused("AcceptVpcPeeringConnection", **named(peering)) == "InvalidStateTransition"
    await theirs.call("AssociateVpcCidrBlock", VpcId=theirs.vpc_id, CidrBlock="10.2.0.0/16")
    await mine.call("AssociateVpcCidrBlock", VpcId=mine.vpc_id, CidrBlock="10.2.0.0/17")
    assert await state(mine, await ask(mine, theirs)) == "failed"
    assert (await theirs.call("DescribeVpcPeeringConnections"))["VpcPeeringConnections"] == []


async def test_unknown_vpcs(mine, theirs):
    asking = {"VpcId": mine.vpc_id, "PeerVpcId": "vpc-0123456789abcdef0"}
    assert await mine.refused("CreateVpcPeeringConnection", **asking) == "InvalidVpcID.NotFound"
    made = await mine.call("CreateVpcPeeringConnection", **asking, PeerOwnerId=OTHER)
    assert await state(mine, made["VpcPeeringConnection"]["VpcPeeringConnectionId"]) == "failed"
    assert await mine.refused("CreateVpcPeeringConnection", VpcId=mine.vpc_id) == "MissingParameter"
    code = await mine.refused("CreateVpcPeeringConnection", **asking, PeerRegion="mars-north-1")
    assert code == "InvalidParameterValue"


async def test_who_asks_again_is_told_of_the_same_request(mine, theirs, peering):
    assert await ask(mine, theirs) == peering
    await theirs.call("AcceptVpcPeeringConnection", **named(peering))
    assert await ask(mine, theirs) == peering
    assert await state(mine, peering) == "active"


async def test_two_vpcs_are_peered_once(mine, theirs, peering):
    back = await ask(theirs, mine)
    assert back != peering
    await theirs.call("AcceptVpcPeeringConnection", **named(peering))
    assert await mine.refused("AcceptVpcPeeringConnection", **named(back)) == "VpcPeeringConnectionAlreadyExists"
    await mine.call("DeleteVpcPeeringConnection", **named(peering))
    await mine.call("AcceptVpcPeeringConnection", **named(back))
    assert await state(theirs, back) == "active"


async def test_across_regions(cloud, mine):
    far = await Lab.make(cloud.within("eu-central-1"), "10.1.0.0/16")
    peering = await ask(mine, far)
    assert await mine.refused("AcceptVpcPeeringConnection", **named(peering)) == "OperationNotPermitted"
    await far.call("AcceptVpcPeeringConnection", **named(peering))
    found = await seen(mine, peering)
    assert (found["Status"]["Code"], found["AccepterVpcInfo"]["Region"]) == ("active", "eu-central-1")


async def test_options_are_each_sides_own(cloud, mine, theirs, peering):
    allow = {"AllowDnsResolutionFromRemoteVpc": True}
    requester, accepter = ({f"{side}PeeringConnectionOptions": allow} for side in ("Requester", "Accepter"))
    modify = "ModifyVpcPeeringConnectionOptions"
    assert await mine.refused(modify, **named(peering), **requester) == "OperationNotPermitted"
    await theirs.call("AcceptVpcPeeringConnection", **named(peering))
    assert await mine.refused(modify, **named(peering), **accepter) == "OperationNotPermitted"
    assert await mine.refused(modify, **named(peering)) == "MissingParameter"
    answer = await theirs.call(modify, **named(peering), **accepter)
    assert answer["AccepterPeeringConnectionOptions"]["AllowDnsResolutionFromRemoteVpc"] is True
    assert "RequesterPeeringConnectionOptions" not in answer
    found = await seen(mine, peering)
    allowed = [
        found[side]["PeeringOptions"]["AllowDnsResolutionFromRemoteVpc"]
        for side in ("RequesterVpcInfo", "AccepterVpcInfo")
    ]
    assert allowed == [False, True]
    (record,) = cloud.store.view().list(Peering)
    assert (record.requester.resolves, record.accepter.resolves) == (True, False)


async def test_a_vpc_that_is_gone_ends_it(cloud, mine, theirs, peering):
    await theirs.call("DeleteVpc", VpcId=theirs.vpc_id)
    settle(cloud)
    assert await state(mine, peering) in {"deleted", "failed"}


async def test_filters(mine, theirs, peering):
    await theirs.call("AcceptVpcPeeringConnection", **named(peering))
    for name, value in (
        ("accepter-vpc-info.cidr-block", "10.1.0.0/16"),
        ("accepter-vpc-info.owner-id", OTHER),
        ("accepter-vpc-info.vpc-id", theirs.vpc_id),
        ("requester-vpc-info.cidr-block", "10.0.0.0/16"),
        ("requester-vpc-info.owner-id", mine.cloud.account),
        ("requester-vpc-info.vpc-id", mine.vpc_id),
        ("status-code", "active"),
        ("status-message", "Active"),
        ("expiration-time", "2026-11-30T12:00:00.000Z"),
        ("vpc-peering-connection-id", peering),
    ):
        for lab in (mine, theirs):
            found = await lab.call("DescribeVpcPeeringConnections", Filters=[{"Name": name, "Values": [value]}])
            assert len(found["VpcPeeringConnections"]) == 1, name
        found = await mine.call("DescribeVpcPeeringConnections", Filters=[{"Name": name, "Values": ["x"]}])
        assert found["VpcPeeringConnections"] == []


async def test_each_side_has_tags_of_its_own(mine, theirs, peering):
    for lab, value in ((mine, "requester"), (theirs, "accepter")):
        await lab.call("CreateTags", Resources=[peering], Tags=[{"Key": "side", "Value": value}])
    for lab, value in ((mine, "requester"), (theirs, "accepter")):
        assert (await seen(lab, peering))["Tags"] == [{"Key": "side", "Value": value}]
        for wanted in ("requester", "accepter"):
            filters = [{"Name": "tag:side", "Values": [wanted]}]
            found = await lab.call("DescribeVpcPeeringConnections", Filters=filters)
            assert len(found["VpcPeeringConnections"]) == (wanted == value)
        (told,) = (await lab.call("DescribeTags"))["Tags"]
        assert (told["ResourceId"], told["Value"]) == (peering, value)
    await theirs.call("AcceptVpcPeeringConnection", **named(peering))
    await theirs.call("DeleteTags", Resources=[peering])
    assert ((await seen(mine, peering))["Tags"], (await seen(theirs, peering))["Tags"]) != ([], [])
    assert (await seen(theirs, peering))["Tags"] == []
    assert await mine.refused("CreateTags", Resources=["pcx-x"], Tags=[{"Key": "a"}]) == "InvalidID"
