"""Whatever hosts tell and whenever: every packet is in exactly one line, and silence is told of silent intervals alone."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pileus.base.config import Config
from pileus.base.ids import new_id
from pileus.controllers.flow_logs import GRACE, FlowKeeper
from pileus.hostapi.observation import FlowObservation
from pileus.records import FlowBatch, FlowLog
from pileus.testing.in_process import HOST, DirectCloud

FORMAT = "${srcport} ${packets} ${start} ${end} ${log-status}"
seen = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(-150, 20))
"""Source port, packets, and when they began, against now, in seconds."""
steps = st.lists(st.tuples(st.integers(0, 130), st.lists(seen, max_size=5)), max_size=15)


async def launched(cloud):
    image = cloud.add_image()
    made = await cloud.call("ec2", "RunInstances", ImageId=image.id, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    return made["Instances"][0]["NetworkInterfaces"][0]


def followed(cloud, vpc_id, interval):
    log = FlowLog(
        id=new_id("fl"),
        account=cloud.account,
        region=cloud.region,
        resource_id=vpc_id,
        traffic="ALL",
        destination="arn:aws:s3:::flows",
        format=FORMAT,
        created=cloud.clock.now(),
        interval=interval,
    )
    cloud.store.transact(lambda tx: tx.put(log))


def observation(interface, now, port, packets, ago):
    return FlowObservation(
        interface_id=interface["NetworkInterfaceId"],
        ingress=False,
        accepted=True,
        source=interface["PrivateIpAddress"],
        destination="198.51.100.9",
        source_port=port,
        destination_port=443,
        protocol=6,
        packets=packets,
        bytes=packets * 100,
        start=now + ago,
        end=now + ago + 1,
    )


async def play(cloud, interval, story):
    """Returns what was told and when, and the lines, each as its words."""
    interface = await launched(cloud)
    followed(cloud, interface["VpcId"], interval)
    keeper = FlowKeeper(cloud.store, cloud.config, cloud.clock)
    told = []
    for seconds, flows in story:
        cloud.clock.advance(seconds)
        now = int(cloud.clock.now().timestamp())
        new = [observation(interface, now, *flow) for flow in flows]
        told += [(now, one) for one in new]
        keeper.take(HOST, new)
        await keeper.close_due()
    for _ in range(3):
        cloud.clock.advance(interval + GRACE)
        await keeper.close_due()
    batches = cloud.store.view().list(FlowBatch)
    return told, [line.split() for batch in batches for line in batch.lines]


@pytest.mark.parametrize("interval", [60, 600])
@given(story=steps)
@settings(max_examples=30, deadline=None)
def test_every_packet_is_told_once(interval, story):
    with tempfile.TemporaryDirectory(prefix="pileus-") as directory:
        cloud = DirectCloud.open(Path(directory), Config())
        try:
            told, lines = asyncio.run(play(cloud, interval, story))
        finally:
            cloud.close()
    for port in ("1", "2", "3"):
        packets = sum(one.packets for _, one in told if str(one.source_port) == port)
        assert sum(int(line[1]) for line in lines if line[0] == port) == packets
    flows = [line for line in lines if line[4] == "OK"]
    silent = [(int(line[2]), int(line[3])) for line in lines if line[4] == "NODATA"]
    assert len(flows) + len(silent) == len(lines)
    assert len(set(silent)) == len(silent)
    for start, end in silent:
        assert 0 < end - start <= interval
        heard = [one for now, one in told if start <= one.start < end and one.start <= now < end + GRACE]
        assert heard == []
