"""How many a launch gives, and what a repeated one does."""

import asyncio

import pytest
from awaitable_client import Awaitable
from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig
from pileus.records import Host, Instance, NetworkInterface, Subnet, Volume
from pileus.records.instance import State
from pileus.testing.cloud import SimulatedCloud

TINY_POOL = Config(
    regions=(RegionConfig(zones=("a",), public_pool=("203.0.113.0/29",)),),
    cpu_overcommit=1.0,
)
"""Two public addresses, and 62 GiB on each host."""


@pytest.fixture
async def cloud(directory, clock):
    async with SimulatedCloud(directory, config=TINY_POOL, hosts=2, clock=clock) as running:
        yield running


@pytest.fixture
def run(cloud, ec2):
    """``await run(least, most)``: the ids launched."""

    async def run(least, most, **params):
        wanted = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": least, "MaxCount": most}
        answer = await ec2.run_instances(**wanted | params)
        assert [one["AmiLaunchIndex"] for one in answer["Instances"]] == list(range(len(answer["Instances"])))
        return [one["InstanceId"] for one in answer["Instances"]]

    return run


def subnet_without_public_addresses(cloud):
    """The default subnet, once it gives none."""
    (subnet,) = cloud.store.view().list(Subnet)
    cloud.store.transact(lambda tx: tx.put(replace(subnet, map_public_ip_on_launch=False)))
    return subnet.id


async def test_as_many_as_there_are_public_addresses(cloud, ec2, run):
    assert len(await run(1, 9)) == 2
    error = ec2.refusal("run_instances", ImageId=cloud.image("tiny"), InstanceType="t3.micro", MinCount=1, MaxCount=1)
    assert await error == ("InsufficientAddressCapacity", 503)
    await cloud.settled()
    view = cloud.store.view()
    assert (len(view.list(Instance)), len(view.list(NetworkInterface)), len(view.list(Volume))) == (2, 2, 2)


async def test_none_where_there_is_room_for_too_few(cloud, ec2):
    subnet_without_public_addresses(cloud)
    before = cloud.store.view().revision
    # m5.4xlarge: 16 processors and 64 GiB, of which no host has 64 left.
    for type_, least in (("m5.4xlarge", 1), ("m5.2xlarge", 3), ("t3.micro", 65)):
        wanted = {"ImageId": cloud.image("tiny"), "InstanceType": type_, "MinCount": least, "MaxCount": 100}
        assert await ec2.refusal("run_instances", **wanted) == ("InsufficientInstanceCapacity", 500)
    assert cloud.store.view().revision == before


async def test_as_many_as_fit_on_the_hosts(cloud, ec2, run):
    subnet_without_public_addresses(cloud)
    ids = await run(1, 50, InstanceType="m5.xlarge")  # 4 processors and 16 GiB: three on a host
    assert len(ids) == 6
    await ec2.wait("instance_running", *ids)
    view = cloud.store.view()
    assert {(host.used_vcpus, host.used_memory) for host in view.list(Host)} == {(12, 3 << 14)}
    await ec2.stop_instances(InstanceIds=ids[:1])
    await ec2.wait("instance_stopped", ids[0])
    (other,) = await run(1, 1, InstanceType="m5.xlarge")
    assert await ec2.refusal("start_instances", InstanceIds=ids[:1]) == ("InsufficientInstanceCapacity", 500)
    await cloud.settled()
    await ec2.terminate_instances(InstanceIds=[other])
    await ec2.wait("instance_terminated", other)
    await ec2.start_instances(InstanceIds=ids[:1])
    await cloud.settled()


async def test_launches_side_by_side_share_what_there_is(cloud, ec2, run):
    subnet_without_public_addresses(cloud)
    results = await asyncio.gather(*(run(1, 3, InstanceType="m5.xlarge") for _ in range(8)), return_exceptions=True)
    launched = [one for result in results if isinstance(result, list) for one in result]
    refused = [error for error in results if not isinstance(error, list)]
    assert len(launched) == 6
    assert all(error.response["Error"]["Code"] == "InsufficientInstanceCapacity" for error in refused)
    await cloud.settled()


async def test_start_takes_all_or_none(cloud, ec2, run):
    ids = await run(2, 2)
    await ec2.wait("instance_running", *ids)
    await ec2.stop_instances(InstanceIds=ids)
    await ec2.wait("instance_stopped", *ids)
    await ec2.allocate_address()
    assert await ec2.refusal("start_instances", InstanceIds=ids) == ("InsufficientAddressCapacity", 503)
    assert {one.state for one in cloud.store.view().list(Instance)} == {State.STOPPED}
    await cloud.settled()
    await ec2.start_instances(InstanceIds=ids[1:])
    await cloud.settled()


async def test_a_subnet_that_is_full(cloud, ec2, run):
    subnet = subnet_without_public_addresses(cloud)
    small = cloud.store.view().get(Subnet, subnet)
    cloud.store.transact(lambda tx: tx.put(replace(small, cidr="172.31.0.0/28")))
    assert len(await run(1, 20)) == 11
    wanted = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    assert await ec2.refusal("run_instances", **wanted) == ("InsufficientFreeAddressesInSubnet", 400)
    await cloud.settled()


async def test_a_token_launches_once(cloud, ec2, run):
    first = await run(1, 1, ClientToken="t-1")
    assert await run(1, 1, ClientToken="t-1") == first
    other = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    assert await ec2.refusal("run_instances", **other, ClientToken="t-1") == ("IdempotentParameterMismatch", 400)
    together = await asyncio.gather(*(run(1, 1, ClientToken="t-2") for _ in range(6)))
    assert len({id_ for ids in together for id_ in ids}) == 1
    assert len(cloud.store.view().list(Instance)) == 2
    await cloud.settled()


async def test_a_token_is_its_accounts_own(cloud, run):
    first = await run(1, 1, ClientToken="t-1")
    stranger = Awaitable(cloud.client("ec2", credentials=cloud.add_account("000000000002")))
    wanted = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    answer = await stranger.run_instances(**wanted, ClientToken="t-1")
    assert answer["Instances"][0]["InstanceId"] not in first


async def test_a_refused_launch_does_not_use_its_token_up(cloud, ec2, run):
    wanted = {"ImageId": cloud.image("tiny"), "InstanceType": "m5.4xlarge", "MinCount": 1, "MaxCount": 1}
    assert (await ec2.refusal("run_instances", **wanted, ClientToken="t"))[0] == "InsufficientInstanceCapacity"
    assert len(await run(1, 1, ClientToken="t")) == 1
