"""A simulated cloud for every test, and botocore's clients of it that can be awaited."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from awaitable_client import Awaitable

from pileus.records import Instance
from pileus.testing.clock import ForwardClock
from pileus.testing.cloud import SimulatedCloud


@pytest.fixture
def directory():
    """A short one: the path of a unix socket has 107 bytes at most."""
    made = Path(tempfile.mkdtemp(prefix="pileus-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def clock():
    return ForwardClock()


@pytest.fixture
async def cloud(directory, clock):
    async with SimulatedCloud(directory, clock=clock) as running:
        yield running


@pytest.fixture
def in_time(cloud, clock):
    """``await in_time(holds)``: lets time pass, ``step`` seconds at once, until something is so in the records."""

    async def wait(holds, step=30):
        for _ in range(1000):
            if holds(cloud.store.view()):
                return
            clock.advance(step)
            await asyncio.sleep(0.01)
        raise AssertionError("it never came to be")

    return wait


@pytest.fixture
def ec2(cloud):
    return Awaitable(cloud.client("ec2"))


@pytest.fixture
def launch(cloud, ec2):
    """``await launch()``: the ids of instances that run."""

    async def run(count=1, **params):
        answer = await ec2.run_instances(
            **{
                "ImageId": cloud.image("tiny"),
                "InstanceType": "t3.micro",
                "MinCount": count,
                "MaxCount": count,
                **params,
            }
        )
        ids = [one["InstanceId"] for one in answer["Instances"]]
        await ec2.wait("instance_running", *ids)
        return ids

    return run


@pytest.fixture
def described(ec2):
    """``await described(id)``: an instance as DescribeInstances tells it."""

    async def describe(instance_id):
        answer = await ec2.describe_instances(InstanceIds=[instance_id])
        return answer["Reservations"][0]["Instances"][0]

    return describe


@pytest.fixture
def record(cloud):
    """``record(id)``: what the store knows of an instance."""
    return lambda instance_id: cloud.store.view().get(Instance, instance_id)
