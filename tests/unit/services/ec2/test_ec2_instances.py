"""Listing instances, their status, power and console."""

import base64
from datetime import timedelta

import pytest
from msgspec.structs import replace

from pileus.records import ConsoleLog, Host, Instance
from pileus.records.instance import State


def ids(result):
    return [instance["InstanceId"] for group in result["Reservations"] for instance in group["Instances"]]


def states(result, member):
    return [(one["PreviousState"]["Name"], one["CurrentState"]["Name"]) for one in result[member]]


@pytest.fixture
async def running(cloud, launch):
    instance_id = (await launch())["InstanceId"]
    cloud.enter(instance_id, State.RUNNING)
    return instance_id


@pytest.fixture
def stop(cloud):
    def stop(instance_id):
        cloud.enter(instance_id, State.STOPPED)

    return stop


async def only(ec2, instance_id):
    return (await ec2("DescribeInstances", InstanceIds=[instance_id]))["Reservations"][0]["Instances"][0]


@pytest.fixture
async def odd_one(cloud, ec2, launch):
    """An instance that differs from a plain one in everything that a launch can say."""
    await launch()
    cloud.clock.advance(3600)
    await ec2("CreateKeyPair", KeyName="odd", KeyType="ed25519")
    group = (await ec2("CreateSecurityGroup", GroupName="odd", Description="x"))["GroupId"]
    made = await launch(
        InstanceType="t3.small",
        KeyName="odd",
        SecurityGroupIds=[group],
        ClientToken="odd-token",
        Placement={"AvailabilityZone": "us-east-1b"},
        MetadataOptions={"HttpTokens": "required"},
        Monitoring={"Enabled": True},
        BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}],
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "odd"}]}],
    )
    cloud.enter(made["InstanceId"], State.RUNNING)
    return made


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("instance-type", "t3.small"),
        ("key-name", "odd"),
        ("group-name", "odd"),
        ("instance.group-name", "odd"),
        ("client-token", "odd-token"),
        ("availability-zone", "us-east-1b"),
        ("network-interface.availability-zone", "us-east-1b"),
        ("metadata-options.http-tokens", "required"),
        ("monitoring-state", "enabled"),
        ("block-device-mapping.device-name", "/dev/sdf"),
        ("tag:Name", "o?d"),
        ("tag-key", "Name"),
        ("tag-value", "odd"),
        ("instance-state-name", "running"),
        ("instance-state-code", "16"),
        ("launch-time", "2026-11-23T13*"),
    ],
)
async def test_filters(ec2, odd_one, name, value):
    assert ids(await ec2("DescribeInstances", Filters=[{"Name": name, "Values": [value]}])) == [odd_one["InstanceId"]]


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("private-ip-address", "PrivateIpAddress"),
        ("ip-address", "PublicIpAddress"),
        ("private-dns-name", "PrivateDnsName"),
        ("dns-name", "PublicDnsName"),
        ("subnet-id", "SubnetId"),
        ("instance-id", "InstanceId"),
        ("network-interface.addresses.private-ip-address", "PrivateIpAddress"),
        ("network-interface.addresses.association.public-ip", "PublicIpAddress"),
        ("network-interface.association.public-dns-name", "PublicDnsName"),
    ],
)
async def test_filters_find_what_is_told(ec2, odd_one, name, member):
    filters = [{"Name": name, "Values": [odd_one[member]]}]
    assert ids(await ec2("DescribeInstances", Filters=filters)) == [odd_one["InstanceId"]]


async def test_filters_are_and_their_values_or(ec2, odd_one):
    both = [{"Name": "instance-type", "Values": ["t3.small", "t3.micro"]}]
    assert len(ids(await ec2("DescribeInstances", Filters=both))) == 2
    neither = [*both, {"Name": "key-name", "Values": ["other"]}]
    assert ids(await ec2("DescribeInstances", Filters=neither)) == []


async def test_pages(cloud, ec2, refused, launch):
    await launch(MinCount=7, MaxCount=7)
    first = await ec2("DescribeInstances", MaxResults=5)
    second = await ec2("DescribeInstances", MaxResults=5, NextToken=first["NextToken"])
    assert len({*ids(first), *ids(second)}) == 7
    assert await refused("DescribeInstances", MaxResults=5, InstanceIds=ids(first)) == "InvalidParameterCombination"
    assert await refused("DescribeInstances", MaxResults=1001) == "InvalidParameterValue"
    narrowed = [{"Name": "instance-type", "Values": ["t3.micro"]}]
    code = await refused("DescribeInstances", MaxResults=5, NextToken=first["NextToken"], Filters=narrowed)
    assert code == "InvalidPaginationToken"
    error = await cloud.of("000000000002").refusal("ec2", "DescribeInstances", NextToken=first["NextToken"])
    assert error.code == "InvalidPaginationToken"


async def test_ids_that_are_not_there(cloud, refused, running):
    missing = ["i-0123456789abcdef0", "i-0123456789abcdef1"]
    error = await cloud.refusal("ec2", "DescribeInstances", InstanceIds=[running, *missing])
    assert error.code == "InvalidInstanceID.NotFound"
    assert error.message == f"The instance IDs '{', '.join(missing)}' do not exist"
    assert await refused("DescribeInstances", InstanceIds=["x"]) == "InvalidInstanceID.Malformed"
    other = cloud.of("000000000002")
    for operation in ("DescribeInstances", "StopInstances", "TerminateInstances", "RebootInstances", "StartInstances"):
        assert (await other.refusal("ec2", operation, InstanceIds=[running])).code == "InvalidInstanceID.NotFound"


async def test_stopping_and_starting(cloud, ec2, stop, running):
    before = await only(ec2, running)
    assert states(await ec2("StopInstances", InstanceIds=[running]), "StoppingInstances") == [("running", "stopping")]
    assert states(await ec2("StopInstances", InstanceIds=[running]), "StoppingInstances") == [("stopping", "stopping")]
    stopping = await only(ec2, running)
    assert stopping["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stopping["StateTransitionReason"] == "User initiated (2026-11-23 12:00:00 GMT)"
    stop(running)
    assert states(await ec2("StopInstances", InstanceIds=[running]), "StoppingInstances") == [("stopped", "stopped")]
    cloud.clock.advance(60)
    started = await ec2("StartInstances", InstanceIds=[running])
    assert states(started, "StartingInstances") == [("stopped", "pending")]
    after = await only(ec2, running)
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["LaunchTime"] == before["LaunchTime"] + timedelta(seconds=60)
    assert after["StateReason"] == {"Code": "pending", "Message": "pending"}
    pending = [{"Name": "state-reason-code", "Values": ["pending"]}]
    assert [
        one["Instances"][0]["InstanceId"] for one in (await ec2("DescribeInstances", Filters=pending))["Reservations"]
    ] == [running]
    assert cloud.store.view().get(Instance, running).boot == 2


async def test_all_or_none(cloud, ec2, refused, launch, running):
    pending = (await launch(DisableApiStop=True))["InstanceId"]
    assert await refused("StopInstances", InstanceIds=[running, pending]) == "OperationNotPermitted"
    assert (await only(ec2, running))["State"]["Name"] == "running"


async def test_what_cannot_be_done_in_a_state(cloud, ec2, refused, stop, running):
    await ec2("StopInstances", InstanceIds=[running])
    assert await refused("StartInstances", InstanceIds=[running]) == "IncorrectInstanceState"
    assert await refused("RebootInstances", InstanceIds=[running]) == "IncorrectInstanceState"
    stop(running)
    cloud.placement.room = 0
    assert await refused("StartInstances", InstanceIds=[running]) == "InsufficientInstanceCapacity"
    await ec2("TerminateInstances", InstanceIds=[running])
    for operation in ("StartInstances", "StopInstances", "RebootInstances"):
        assert await refused(operation, InstanceIds=[running]) == "IncorrectInstanceState"


async def test_forcing_a_stop_that_takes_long(cloud, ec2, running):
    await ec2("StopInstances", InstanceIds=[running])
    assert cloud.store.view().get(Instance, running).force is False
    await ec2("StopInstances", InstanceIds=[running], Force=True)
    assert cloud.store.view().get(Instance, running).force is True


async def test_rebooting(cloud, ec2, running):
    assert await ec2("RebootInstances", InstanceIds=[running]) == {}
    assert cloud.store.view().get(Instance, running).reset == 1
    assert (await only(ec2, running))["State"]["Name"] == "running"


async def test_terminating(cloud, ec2, running):
    gone = await ec2("TerminateInstances", InstanceIds=[running, running])
    assert states(gone, "TerminatingInstances") == [("running", "shutting-down")]
    cloud.enter(running, State.TERMINATED)
    again = await ec2("TerminateInstances", InstanceIds=[running])
    assert states(again, "TerminatingInstances") == [("terminated", "terminated")]
    assert (await only(ec2, running))["State"] == {"Code": 48, "Name": "terminated"}


async def test_status(cloud, ec2, launch, running):
    pending = (await launch())["InstanceId"]
    (well,) = (await ec2("DescribeInstanceStatus"))["InstanceStatuses"]
    assert well["InstanceId"] == running
    assert well["InstanceState"] == {"Code": 16, "Name": "running"}
    passed = {"Status": "ok", "Details": [{"Name": "reachability", "Status": "passed"}]}
    assert well["InstanceStatus"] == well["SystemStatus"] == well["AttachedEbsStatus"] == passed
    everything = (await ec2("DescribeInstanceStatus", IncludeAllInstances=True))["InstanceStatuses"]
    assert {one["InstanceId"]: one["InstanceStatus"]["Status"] for one in everything} == {
        running: "ok",
        pending: "initializing",
    }
    of_one = await ec2("DescribeInstanceStatus", InstanceIds=[pending])
    assert of_one["InstanceStatuses"] == []


async def test_status_pages_hold_what_was_asked_for(cloud, ec2, launch):
    made = [(await launch())["InstanceId"] for _ in range(9)]
    for instance_id in sorted(made)[4:]:
        cloud.enter(instance_id, State.RUNNING)
    page = await ec2("DescribeInstanceStatus", MaxResults=5)
    assert [one["InstanceId"] for one in page["InstanceStatuses"]] == sorted(made)[4:]
    assert "NextToken" not in page


async def test_impaired(cloud, ec2, running):
    def hang(tx):
        instance = tx.get(Instance, running)
        tx.put(replace(instance, observed=replace(instance.observed, impaired=True)))
        tx.put(Host(id=instance.host_id, account="", region="", zones=("us-east-1a",), vcpus=1, memory=1, state="lost"))

    cloud.store.transact(hang)
    impaired = [{"Name": "instance-status.status", "Values": ["impaired"]}]
    (status,) = (await ec2("DescribeInstanceStatus", Filters=impaired))["InstanceStatuses"]
    assert status["SystemStatus"]["Status"] == "impaired"
    assert status["InstanceStatus"]["Details"] == [{"Name": "reachability", "Status": "failed"}]


async def test_console_output(cloud, ec2, refused, running):
    assert await refused("GetConsoleOutput", InstanceId=running) == "UnsupportedOperation"
    cloud.consoles.said[running] = b"login: \xff"
    told = await ec2("GetConsoleOutput", InstanceId=running)
    assert (told["InstanceId"], told["Timestamp"]) == (running, cloud.clock.now())
    assert base64.b64decode(told["Output"]) == b"login: \xff"
    screen = await ec2("GetConsoleScreenshot", InstanceId=running)
    assert base64.b64decode(screen["ImageData"]) == b"login: \xff"


async def test_the_console_outlives_the_guest(cloud, ec2, refused, running):
    log = ConsoleLog(
        id=running, account=cloud.account, region=cloud.region, output=b"last words", taken=cloud.clock.now()
    )
    cloud.store.transact(lambda tx: tx.put(log))
    cloud.enter(running, State.SHUTTING_DOWN)
    cloud.enter(running, State.TERMINATED)
    assert base64.b64decode((await ec2("GetConsoleOutput", InstanceId=running))["Output"]) == b"last words"
    assert await refused("GetConsoleScreenshot", InstanceId=running) == "IncorrectInstanceState"
