"""botocore's clients of a cloud in the same process, which they must not block."""

import asyncio

import pytest

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
