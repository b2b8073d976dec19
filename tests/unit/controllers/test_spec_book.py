"""Whatever changes, what the book pushes is what one would compute from scratch; and it pushes nothing that is the same."""

import pytest

from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Reading
from pileus.controllers.spec_book import SpecBook
from pileus.records import Instance
from pileus.records.instance import State
from pileus.testing.in_process import HOST, DirectCloud


class Session:
    """A host that notes what is pushed to it."""

    def __init__(self, host_id):
        self.host_id = host_id
        self.pushed = []

    async def send_spec(self, spec):
        self.pushed.append(spec)


@pytest.fixture
def cloud(tmp_path):
    cloud = DirectCloud.open(tmp_path)
    yield cloud
    cloud.close()


@pytest.fixture
async def session(cloud):
    """A host in the book ``session.book``."""
    session = Session(HOST)
    session.book = SpecBook(cloud.store, cloud.config)
    await session.book.open(session)
    return session


async def check(cloud, session):
    await session.book.follow()
    view = cloud.store.view()
    newest = session.pushed[-1]
    assert newest == host_spec(Reading(view), HOST, cloud.config, newest.revision)


async def launch(cloud, **parameters):
    parameters = {"ImageId": cloud.image_id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1, **parameters}
    launched = await cloud.call("ec2", "RunInstances", **parameters)
    return [one["InstanceId"] for one in launched["Instances"]]


async def test_every_change_reaches_the_host_as_if_all_were_computed_anew(cloud, session):
    cloud.image_id = cloud.add_image().id
    call, enter = cloud.call, cloud.enter
    one, two = await launch(cloud, MinCount=2, MaxCount=2)
    await check(cloud, session)
    enter(one, State.RUNNING)
    await check(cloud, session)
    vpc = (await call("ec2", "DescribeVpcs"))["Vpcs"][0]["VpcId"]
    group = (await call("ec2", "CreateSecurityGroup", GroupName="g", Description="d", VpcId=vpc))["GroupId"]
    peers = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 9, "UserIdGroupPairs": [{"GroupId": group}]}]
    await call("ec2", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=peers)
    await check(cloud, session)
    await call("ec2", "ModifyInstanceAttribute", InstanceId=one, Groups=[group])
    await check(cloud, session)
    await call("ec2", "ModifyInstanceAttribute", InstanceId=two, Groups=[group])
    await check(cloud, session)
    enter(two, State.RUNNING)
    address = await call("ec2", "AllocateAddress", Domain="vpc")
    for instance in (one, two):
        await call("ec2", "AssociateAddress", AllocationId=address["AllocationId"], InstanceId=instance)
        await check(cloud, session)
    await call("ec2", "ModifyInstanceMetadataOptions", InstanceId=one, HttpTokens="required")
    await check(cloud, session)
    await call("ec2", "StopInstances", InstanceIds=[one])
    await check(cloud, session)
    enter(one, State.STOPPED)
    await check(cloud, session)
    await call("ec2", "StartInstances", InstanceIds=[one])
    await launch(cloud)
    await check(cloud, session)
    await call("ec2", "TerminateInstances", InstanceIds=[one, two])
    await check(cloud, session)
    assert {guest.instance_id: guest.power for guest in session.pushed[-1].guests}[two] == "off"


async def test_what_does_not_concern_a_host_is_not_pushed_to_it(cloud, session):
    cloud.image_id = cloud.add_image().id
    (instance,) = await launch(cloud)
    await check(cloud, session)
    count = len(session.pushed)
    await session.book.follow()
    await cloud.call("ec2", "CreateKeyPair", KeyName="other")
    await cloud.call("ec2", "CreateTags", Resources=[instance], Tags=[{"Key": "Name", "Value": "seen by nobody there"}])
    await session.book.follow()
    assert len(session.pushed) == count


async def test_revisions_never_go_back_also_when_a_host_comes_again(cloud, session):
    cloud.image_id = cloud.add_image().id
    await launch(cloud)
    await session.book.follow()
    session.book.close(session)
    await launch(cloud)
    await session.book.follow()
    await session.book.open(session)
    await check(cloud, session)
    revisions = [spec.revision for spec in session.pushed]
    assert revisions == sorted(revisions)
    assert len(session.pushed[-1].guests) == len(cloud.store.view().list(Instance, host_id=HOST)) == 2


async def test_a_gap_in_the_log_costs_no_change(cloud, session, monkeypatch):
    from pileus.store import LogTrimmed

    cloud.image_id = cloud.add_image().id
    await launch(cloud)
    await session.book.follow()
    with monkeypatch.context() as patch:

        def trimmed(since):
            raise LogTrimmed(since)

        patch.setattr(cloud.store, "changes_since", trimmed)
        await launch(cloud)
        await check(cloud, session)
    await launch(cloud)
    await check(cloud, session)
    assert len(session.pushed[-1].guests) == 3
