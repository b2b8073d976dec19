"""Writes whose answer waits for what comes of them."""

import asyncio

import pytest

from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.engines.blocks.fake import memory_blocks
from pileus.operations.call import Call, Identity
from pileus.operations.context import Environment
from pileus.operations.dispatch import Dispatcher
from pileus.operations.registry import Service
from pileus.records import KINDS, Vpc
from pileus.store import open_store
from pileus.testing.clock import ManualClock
from pileus.testing.in_process import Lines, OneHost

NAME = "vpc-0123456789abcdef0"


def vpc(**fields):
    return Vpc(
        **{
            "id": NAME,
            "account": "1",
            "region": "us-east-1",
            "cidrs": (("a", "10.0.0.0/16"),),
            "dhcp_options_id": "default",
            **fields,
        }
    )


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite:///{tmp_path / 'store'}", KINDS, ManualClock(), durable=False)
    yield opened
    opened.close()


@pytest.fixture
def perform(store):
    """``await perform(patience)``: makes a VPC; the answer waits until it has tags."""
    service = Service("ec2")
    clock = ManualClock()

    def tagged(context, result):
        found = context.view.get(Vpc, result["VpcId"])
        if found is None:
            return {**result, "State": "gone"}
        return {**result, "State": "tagged"} if found.tags else None

    @service.writes("CreateVpc", then=tagged)
    def create(context, params):
        context.tx.put(vpc())
        return {"VpcId": NAME, "State": "made"}

    env = Environment(
        config=Config(),
        clock=clock,
        sealer=Sealer(bytes(32)),
        placement=OneHost([]),
        consoles=Lines(),
        blocks=memory_blocks(lambda: 0.0),
    )
    identity = Identity(account="1", arn="arn:aws:iam::1:root", user_id="1", access_key="AKIA")

    async def run(patience):
        call = Call(
            service="ec2",
            operation="CreateVpc",
            region="us-east-1",
            params={},
            identity=identity,
            request_id="r",
            now=clock.now(),
        )
        return await Dispatcher([service], store, env, patience=patience)(call)

    return run


def change(store, work):
    found = store.view().get(Vpc, NAME)
    return asyncio.to_thread(store.transact, lambda tx: work(tx, found))


async def written(store, perform):
    """The call as a task, once it has written."""
    answer = asyncio.create_task(perform(1000))
    while store.view().get(Vpc, NAME) is None:
        assert not answer.done()
        await asyncio.sleep(0)
    return answer


async def test_the_answer_comes_when_it_is_so(store, perform):
    answer = await written(store, perform)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not answer.done()
    await change(store, lambda tx, found: tx.put(vpc(version=found.version, tags={"a": "b"})))
    assert await answer == {"VpcId": NAME, "State": "tagged"}


async def test_what_will_never_be_so_is_answered_too(store, perform):
    answer = await written(store, perform)
    await change(store, lambda tx, found: tx.delete(found))
    assert await answer == {"VpcId": NAME, "State": "gone"}


async def test_without_patience_the_answer_is_the_write_s_own(store, perform):
    assert await perform(0) == {"VpcId": NAME, "State": "made"}
    assert store.view().get(Vpc, NAME) is not None


async def test_a_store_that_closes_ends_the_waiting(store, perform):
    answer = await written(store, perform)
    for _ in range(100):
        await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    assert await answer == {"VpcId": NAME, "State": "made"}
