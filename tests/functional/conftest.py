"""A simulated cloud for every test, and botocore's clients of it that can be awaited."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest

from pileus.records import Instance
from pileus.testing.clock import ForwardClock
from pileus.testing.cloud import SimulatedCloud

OFTEN = {"Delay": 0.02, "MaxAttempts": 1000}
"""A waiter's configuration: guests that start in milliseconds are waited for in milliseconds."""


class Awaitable:
    """A botocore client whose operations run in threads: ``await ec2.describe_instances()``."""

    def __init__(self, client):
        self.blocking = client

    def __getattr__(self, name):
        operation = getattr(self.blocking, name)

        async def perform(*args, **params):
            return await asyncio.to_thread(operation, *args, **params)

        return perform

    async def all(self, operation, **params):
        """The whole result of a paged operation."""
        return await asyncio.to_thread(
            lambda: self.blocking.get_paginator(operation).paginate(**params).build_full_result()
        )

    async def wait(self, waiter, *instance_ids):
        """Waits as the AWS CLI does."""
        await asyncio.to_thread(
            self.blocking.get_waiter(waiter).wait, InstanceIds=list(instance_ids), WaiterConfig=OFTEN
        )

    async def refusal(self, operation, **params):
        """The code and the HTTP status of the error that an operation has to give."""
        with pytest.raises(self.blocking.exceptions.ClientError) as error:
            await getattr(self, operation)(**params)
        answer = error.value.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


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
