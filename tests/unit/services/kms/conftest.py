"""Short names for calling KMS."""

from functools import partial

import pytest

STRANGER = "000000000002"


@pytest.fixture
def kms(cloud):
    return partial(cloud.call, "kms")


@pytest.fixture
def stranger(cloud):
    """Another account's way to KMS."""
    return partial(cloud.of(STRANGER).call, "kms")


@pytest.fixture
def refused(cloud):
    """``await refused("Encrypt", …)``: the code of the error that it has to give."""

    async def code(operation, *, account=None, **params):
        return (await (cloud.of(account) if account else cloud).refusal("kms", operation, **params)).code

    return code


@pytest.fixture
def create(kms):
    """``await create(…)``: the metadata of a new key."""

    async def make(**params):
        return (await kms("CreateKey", **params))["KeyMetadata"]

    return make


@pytest.fixture
async def key(create):
    """The ARN of a symmetric key."""
    return (await create())["Arn"]
