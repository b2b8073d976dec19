"""A flow on a host, through agent, controllers and delivery, to a client of S3 that reads the log."""

import asyncio
import gzip

from awaitable_client import Awaitable

from pileus.hostapi.observation import FlowObservation
from pileus.records import FlowBatch, FlowLog

FORMAT = "${interface-id} ${srcport} ${packets} ${action} ${log-status}"


async def follow(ec2, vpc_id):
    made = await ec2.create_flow_logs(
        ResourceIds=[vpc_id],
        ResourceType="VPC",
        TrafficType="ALL",
        LogDestinationType="s3",
        LogDestination="arn:aws:s3:::flows/vpc",
        LogFormat=FORMAT,
        MaxAggregationInterval=60,
    )
    assert made["Unsuccessful"] == []
    return made["FlowLogIds"][0]


async def lines_of(s3):
    """Everything that was delivered, without the heads of the files."""
    found = []
    for one in (await s3.list_objects_v2(Bucket="flows")).get("Contents", ()):
        body = (await s3.get_object(Bucket="flows", Key=one["Key"]))["Body"]
        head, *lines = gzip.decompress(await asyncio.to_thread(body.read)).decode().splitlines()
        assert head == "interface-id srcport packets action log-status"
        found += lines
    return found


async def test_what_a_host_captures_is_read_in_the_bucket(cloud, ec2, launch, described, clock, in_time):
    (instance_id,) = await launch()
    interface = (await described(instance_id))["NetworkInterfaces"][0]
    s3 = Awaitable(cloud.client("s3"))
    await s3.create_bucket(Bucket="flows")
    made = await follow(ec2, interface["VpcId"])
    eni, network = interface["NetworkInterfaceId"], cloud.hosts[0].network

    def capturing(_view):
        return any(one.interface_id == eni for vpc in network.spec.vpcs for one in vpc.captures)

    await in_time(capturing, step=0)
    begun = int(clock.now().timestamp())
    flow = FlowObservation(
        interface_id=eni,
        ingress=False,
        accepted=True,
        source=interface["PrivateIpAddress"],
        destination="198.51.100.9",
        source_port=40000,
        destination_port=443,
        protocol=6,
        packets=12,
        bytes=3456,
        start=begun,
        end=begun,
    )
    network.captured.append(flow)
    while network.captured:
        clock.advance(10)
        await asyncio.sleep(0.01)

    async def read():
        for _ in range(200):
            lines = await lines_of(s3)
            if f"{eni} 40000 12 ACCEPT OK" in lines:
                return lines
            clock.advance(10)
            await asyncio.sleep(0.05)
        raise AssertionError("it was never delivered")

    lines = await read()
    assert set(lines) <= {f"{eni} 40000 12 ACCEPT OK", f"{eni} - - - NODATA"}
    await cloud.until(lambda view: view.get(FlowLog, made).delivered == "SUCCESS")
    await ec2.delete_flow_logs(FlowLogIds=[made])
    await in_time(lambda view: not view.list(FlowBatch), step=0)
    await in_time(lambda view: not capturing(view), step=0)


async def test_restarted_controllers_go_on(cloud, ec2, launch, described, clock):
    (instance_id,) = await launch()
    s3 = Awaitable(cloud.client("s3"))
    await s3.create_bucket(Bucket="flows")
    interface = (await described(instance_id))["NetworkInterfaces"][0]
    await follow(ec2, interface["VpcId"])
    await cloud.kill_controllers()
    await cloud.start_controllers()
    for _ in range(200):
        if await lines_of(s3):
            break
        clock.advance(10)
        await asyncio.sleep(0.05)
    assert set(await lines_of(s3)) == {f"{interface['NetworkInterfaceId']} - - - NODATA"}
