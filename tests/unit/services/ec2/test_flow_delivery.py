"""From what a host saw to the object in the bucket."""

import asyncio
import gzip
import re

import pytest
from msgspec.structs import replace

from pileus.base.config import s3_address
from pileus.base.sealing import Sealer
from pileus.controllers.flow_logs import GRACE, FlowKeeper
from pileus.hostapi.observation import FlowObservation
from pileus.operations.context import Environment
from pileus.records import FlowBatch, FlowLog, NetworkInterface, Subnet
from pileus.services.ec2.flow_delivery import FlowDelivery
from pileus.testing.clock import ManualClock
from pileus.testing.in_process import HOST


@pytest.fixture
async def interface(launch):
    return (await launch())["NetworkInterfaces"][0]


@pytest.fixture
def keeper(cloud):
    return FlowKeeper(cloud.store, cloud.config, cloud.clock)


@pytest.fixture
def delivery(cloud):
    env = Environment(
        config=cloud.config,
        clock=cloud.clock,
        sealer=Sealer(bytes(32)),
        placement=cloud.placement,
        consoles=cloud.consoles,
        objects=cloud.objects,
    )
    return FlowDelivery(cloud.store, env)


@pytest.fixture
async def create(cloud, ec2, interface):
    await cloud.call("s3", "CreateBucket", Bucket="flows")

    async def flow_log(**changes):
        params = {
            "ResourceIds": [interface["VpcId"]],
            "ResourceType": "VPC",
            "TrafficType": "ALL",
            "LogDestinationType": "s3",
            "LogDestination": "arn:aws:s3:::flows",
            "MaxAggregationInterval": 60,
        }
        return (await ec2("CreateFlowLogs", **{**params, **changes}))["FlowLogIds"][0]

    return flow_log


@pytest.fixture
def saw(cloud, interface):
    """An observation of this minute, of a connection to port 443 unless ``fields`` say otherwise."""

    def seen(**fields):
        now = int(cloud.clock.now().timestamp())
        flow = FlowObservation(
            interface_id=interface["NetworkInterfaceId"],
            ingress=False,
            accepted=True,
            source=interface["PrivateIpAddress"],
            destination="198.51.100.9",
            source_port=40000,
            destination_port=443,
            protocol=6,
            packets=10,
            bytes=1000,
            start=now,
            end=now + 30,
            flags=2,
        )
        return replace(flow, **fields)

    return seen


@pytest.fixture
def objects(cloud, delivery):
    """Delivers, and answers the lines of every object by its key."""

    async def delivered():
        await delivery.deliver()
        found = {}
        for one in (await cloud.call("s3", "ListObjectsV2", Bucket="flows")).get("Contents", ()):
            body = (await cloud.call("s3", "GetObject", Bucket="flows", Key=one["Key"]))["Body"]
            data = b"".join([piece async for piece in body])
            found[one["Key"]] = gzip.decompress(data).decode().splitlines()
        return found

    return delivered


async def over(cloud, keeper, seconds=60):
    cloud.clock.advance(seconds + GRACE)
    await keeper.close_due()


async def test_a_flow_becomes_an_object(cloud, create, keeper, saw, objects, interface):
    made, begun = await create(), int(cloud.clock.now().timestamp())
    eni, address = interface["NetworkInterfaceId"], interface["PrivateIpAddress"]
    back = {"source": "198.51.100.9", "destination": address}
    keeper.take(HOST, [saw(), saw(accepted=False, ingress=True, destination_port=23, **back)])
    await over(cloud, keeper)
    ((key, lines),) = (await objects()).items()
    account, at = cloud.account, cloud.clock.now()
    assert re.fullmatch(
        f"AWSLogs/{account}/vpcflowlogs/us-east-1/{at:%Y/%m/%d}/"
        f"{account}_vpcflowlogs_us-east-1_{made}_{at:%Y%m%dT%H%MZ}_[0-9a-f]{{8}}\\.log\\.gz",
        key,
    )
    head = f"2 {account} {eni}"
    tail = f"6 10 1000 {begun} {begun + 30}"
    assert lines == [
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action "
        "log-status",
        f"{head} {address} 198.51.100.9 40000 443 {tail} ACCEPT OK",
        f"{head} 198.51.100.9 {address} 40000 23 {tail} REJECT OK",
    ]
    assert cloud.store.view().list(FlowBatch) == []
    assert cloud.store.view().get(FlowLog, made).delivered == "SUCCESS"


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (
            {"HiveCompatiblePartitions": True, "PerHourPartition": True},
            "AWSLogs/aws-account-id={a}/aws-service=vpcflowlogs/aws-region=us-east-1/year=2026/month=11/day=23/hour=12/",
        ),
        (
            {"HiveCompatiblePartitions": True},
            "AWSLogs/aws-account-id={a}/aws-service=vpcflowlogs/aws-region=us-east-1/year=2026/month=11/day=23/",
        ),
        ({"PerHourPartition": True}, "AWSLogs/{a}/vpcflowlogs/us-east-1/2026/11/23/12/"),
    ],
)
async def test_partitions(cloud, create, keeper, saw, objects, options, where):
    await create(DestinationOptions=options, LogDestination="arn:aws:s3:::flows/deep/folder")
    keeper.take(HOST, [saw()])
    await over(cloud, keeper)
    (key,) = await objects()
    assert key.startswith(f"deep/folder/{where.format(a=cloud.account)}{cloud.account}_vpcflowlogs_us-east-1_fl-")


async def test_all_fields(cloud, create, keeper, saw, objects, interface):
    fields = (
        "version vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type "
        "sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path ecs-task-id reject-reason"
    )
    await create(LogFormat=" ".join(f"${{{name}}}" for name in fields.split()))
    view = cloud.store.view()
    record = view.get(NetworkInterface, interface["NetworkInterfaceId"])
    mine, s3 = record.private_address, s3_address(cloud.config.region("us-east-1"))
    inside = mine.rsplit(".", 1)[0] + ".200"
    keeper.take(
        HOST,
        [
            saw(packet_destination=s3, flags=0b11011),
            saw(destination=inside, protocol=17, flags=0),
            saw(ingress=True, source="203.0.113.5", destination=mine, packet_source="203.0.113.5"),
            saw(source="2001:db8::5", destination="2001:db8::6"),
            # Neither is the interface's own: the primary address stands for it.
            saw(source="192.0.2.7"),
            saw(ingress=True, source="192.0.2.7", destination="10.99.0.1"),
        ],
    )
    await over(cloud, keeper)
    ((head, *lines),) = (await objects()).values()
    assert head == fields
    front = f"8 {record.vpc_id} {record.subnet_id} {record.instance_id}"
    here = f"us-east-1 {view.get(Subnet, record.subnet_id).zone_id} - -"
    assert lines == [
        f"{front} 19 IPv4 {mine} {s3} {here} - S3 egress 8 - -",
        f"{front} 0 IPv4 {mine} {inside} {here} - - egress 1 - -",
        f"{front} 2 IPv4 203.0.113.5 {mine} {here} EC2 - ingress - - -",
        f"{front} 2 IPv6 2001:db8::5 2001:db8::6 {here} - - egress - - -",
        f"{front} 2 IPv4 192.0.2.7 198.51.100.9 {here} - - egress 8 - -",
        f"{front} 2 IPv4 192.0.2.7 10.99.0.1 {here} - - ingress - - -",
    ]


async def test_the_interfaces_end_is_shown_as_its_primary_address(cloud, ec2, create, keeper, saw, objects, interface):
    await create(LogFormat="${srcaddr} ${dstaddr} ${pkt-srcaddr} ${pkt-dstaddr}")
    eni, mine = interface["NetworkInterfaceId"], interface["PrivateIpAddress"]
    more = await ec2("AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=1)
    second = more["AssignedPrivateIpAddresses"][0]["PrivateIpAddress"]
    far = "198.51.100.9"
    keeper.take(HOST, [
        saw(ingress=True, source=far, destination=second),
        saw(source=second, destination=far),
        saw(source="192.0.2.7", destination=far),
    ])  # fmt: skip
    await over(cloud, keeper)
    (lines,) = (await objects()).values()
    assert lines[1:] == [
        f"{far} {mine} {far} {second}",
        f"{second} {far} {second} {far}",
        f"{mine} {far} 192.0.2.7 {far}",
    ]


async def test_services_of_the_vpc_are_left_out(cloud, create, keeper, saw, objects):
    await create(LogFormat="${dstaddr} ${log-status}")
    apart = ["169.254.169.254", "169.254.169.253", "169.254.169.123", "fd00:ec2::254", "172.31.0.2", "172.31.0.1"]
    dhcp = [
        saw(protocol=17, source_port=68, destination_port=67),
        saw(protocol=17, source_port=546, destination_port=547),
    ]
    keeper.take(HOST, [*dhcp, *(saw(destination=address) for address in apart), saw(source="172.31.0.2", ingress=True)])
    await over(cloud, keeper)
    (lines,) = (await objects()).values()
    assert lines[1:] == ["- NODATA"]


async def test_flows_add_up_in_the_interval(cloud, create, keeper, saw, objects):
    await create(MaxAggregationInterval=600, LogFormat="${packets} ${bytes} ${start} ${end} ${tcp-flags}")
    begun = int(cloud.clock.now().timestamp())
    for minute in range(10):
        keeper.take(HOST, [saw(flags=1 if minute == 9 else 2)])
        assert await objects() == {}
        cloud.clock.advance(60)
        await keeper.close_due()
    await over(cloud, keeper, 0)
    (lines,) = (await objects()).values()
    assert lines[1:] == [f"100 10000 {begun} {begun + 9 * 60 + 30} 3"]


async def test_silence_is_told(cloud, create, keeper, objects, interface, launch):
    made = await create()
    begun = int(cloud.clock.now().timestamp())
    await over(cloud, keeper)
    (lines,) = (await objects()).values()
    head = f"2 {cloud.account} {interface['NetworkInterfaceId']}"
    assert lines[1:] == [f"{head} - - - - - - - {begun} {begun + 60} - NODATA"]
    assert cloud.store.view().get(FlowLog, made) is not None


async def test_only_what_is_wanted_and_of_whom(cloud, create, keeper, saw, objects, launch):
    other = (await launch())["NetworkInterfaces"][0]["NetworkInterfaceId"]
    await create(
        TrafficType="REJECT",
        ResourceType="NetworkInterface",
        ResourceIds=[other],
        LogFormat="${interface-id} ${action}",
    )
    keeper.take(HOST, [saw(accepted=False), saw(interface_id=other), saw(interface_id=other, accepted=False)])
    keeper.take("another-host", [saw(interface_id=other, accepted=False, destination_port=1)])
    keeper.take(HOST, [saw(interface_id="eni-0123456789abcdef0")])
    keeper.take(HOST, [saw(interface_id=other, accepted=False, source="somewhere", destination="")])
    await over(cloud, keeper)
    (lines,) = (await objects()).values()
    assert lines[1:] == [f"{other} REJECT"]


async def test_what_comes_late_is_kept(cloud, create, keeper, saw, objects):
    await create(LogFormat="${start} ${log-status}")
    late = saw()
    await over(cloud, keeper)
    keeper.take(HOST, [late])
    await over(cloud, keeper)
    told = [line for lines in (await objects()).values() for line in lines[1:]]
    assert f"{late.start} OK" in told


async def test_too_much_is_skipped_and_said(cloud, create, keeper, saw, objects, monkeypatch):
    monkeypatch.setattr("pileus.controllers.flow_logs.MOST_FLOWS", 3)
    await create(LogFormat="${srcport} ${log-status}")
    keeper.take(HOST, [saw(source_port=port) for port in range(1, 6)])
    await over(cloud, keeper)
    (lines,) = (await objects()).values()
    assert lines[1:] == ["1 OK", "2 OK", "3 OK", "- SKIPDATA"]


async def test_long_logs_are_several_objects(cloud, create, keeper, saw, objects):
    await create()
    keeper.take(HOST, [saw(source_port=port) for port in range(1, 2001)])
    await over(cloud, keeper)
    sizes = [sum(len(line) + 1 for line in batch.lines) for batch in cloud.store.view().list(FlowBatch)]
    assert len(sizes) > 1
    assert max(sizes) <= 64 << 10
    found = await objects()
    assert len(found) == len(sizes)
    assert sum(len(lines) - 1 for lines in found.values()) == 2000


async def test_one_that_was_interrupted_after_storing_is_not_stored_again(cloud, create, keeper, saw, delivery):
    await cloud.call("s3", "PutBucketVersioning", Bucket="flows", VersioningConfiguration={"Status": "Enabled"})
    await create()
    keeper.take(HOST, [saw()])
    await over(cloud, keeper)
    (batch,) = cloud.store.view().list(FlowBatch)
    await delivery.deliver()
    cloud.store.transact(lambda tx: tx.put(replace(batch, version=0)))
    await delivery.deliver()
    assert cloud.store.view().list(FlowBatch) == []
    assert len((await cloud.call("s3", "ListObjectVersions", Bucket="flows"))["Versions"]) == 1


async def test_a_bucket_that_is_gone_and_comes_again(cloud, ec2, create, keeper, saw, objects, delivery):
    made = await create()
    keeper.take(HOST, [saw()])
    await over(cloud, keeper)
    await cloud.call("s3", "DeleteBucket", Bucket="flows")
    await delivery.deliver()
    (told,) = (await ec2("DescribeFlowLogs"))["FlowLogs"]
    assert told["DeliverLogsStatus"] == "FAILED"
    assert told["DeliverLogsErrorMessage"].startswith("Access error: The specified bucket does not exist")
    failed = [{"Name": "deliver-log-status", "Values": ["FAILED"]}]
    assert [one["FlowLogId"] for one in (await ec2("DescribeFlowLogs", Filter=failed))["FlowLogs"]] == [made]
    await cloud.call("s3", "CreateBucket", Bucket="flows")
    assert len(await objects()) == 1
    (told,) = (await ec2("DescribeFlowLogs"))["FlowLogs"]
    assert (told["DeliverLogsStatus"], told.get("DeliverLogsErrorMessage")) == ("SUCCESS", None)


async def test_what_nobody_takes_is_dropped_after_an_hour(cloud, create, keeper, saw, delivery):
    await create()
    keeper.take(HOST, [saw()])
    await over(cloud, keeper)
    deny = '{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::flows/*"}]}'
    await cloud.call("s3", "PutBucketPolicy", Bucket="flows", Policy=deny)
    await delivery.deliver()
    assert len(cloud.store.view().list(FlowBatch)) == 1
    cloud.clock.advance(3601)
    await delivery.deliver()
    assert cloud.store.view().list(FlowBatch) == []


class Standing(ManualClock):
    """Time does not pass."""

    async def sleep(self, seconds):
        await asyncio.Event().wait()


async def test_what_is_open_is_kept_when_the_controllers_end(cloud, create, saw):
    await create(LogFormat="${srcport} ${log-status}")
    keeper = FlowKeeper(cloud.store, cloud.config, Standing(cloud.clock.now()))
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0)
    keeper.take(HOST, [saw(source_port=7)])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [batch.lines for batch in cloud.store.view().list(FlowBatch)] == [("7 OK",)]


async def test_delivery_follows_what_is_recorded(cloud, create, keeper, saw, delivery, objects):
    cloud.clock.sleep = Standing().sleep
    await create(LogFormat="${srcport} ${log-status}")
    running = asyncio.create_task(delivery.run())
    for port in (1, 2):
        keeper.take(HOST, [saw(source_port=port)])
        await over(cloud, keeper)
        async with asyncio.timeout(10):
            while cloud.store.view().list(FlowBatch):
                await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    told = [line for lines in (await objects()).values() for line in lines]
    assert {"1 OK", "2 OK"} <= set(told)


async def test_batches_do_not_pile_up(cloud, create, keeper, saw, monkeypatch):
    monkeypatch.setattr("pileus.controllers.flow_logs.MOST_WAITING", 2)
    await create(LogFormat="${srcport}")
    for port in range(1, 5):
        keeper.take(HOST, [saw(source_port=port)])
        await over(cloud, keeper)
    waiting = cloud.store.view().list(FlowBatch)
    assert [batch.lines for batch in waiting][-1] == ("4",)
    assert len(waiting) == 2


async def test_the_end_of_a_log_is_the_end_of_what_waits(cloud, ec2, create, keeper, saw):
    made = await create()
    keeper.take(HOST, [saw()])
    await over(cloud, keeper)
    keeper.take(HOST, [saw()])
    await ec2("DeleteFlowLogs", FlowLogIds=[made])
    await over(cloud, keeper)
    assert cloud.store.view().list(FlowBatch) == []
