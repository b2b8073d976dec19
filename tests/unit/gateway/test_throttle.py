"""Token buckets as EC2 documents them, under a clock moved by hand."""

from datetime import UTC, datetime

import pytest
from gateway_requests import HandClock
from hypothesis import given
from hypothesis import strategies as st

from pileus.aws.protocol import load_service
from pileus.gateway import limits
from pileus.gateway.throttle import CONSOLE, RequestLimitExceeded, Throttle
from pileus.operations.call import Call, Identity


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def call(
    operation: str, account: str = "1", region: str = "r", service: str = "ec2", agent: str = "", **params: object
) -> Call:
    return Call(
        service=service,
        operation=operation,
        region=region,
        params=params,
        identity=Identity(account=account, arn="", user_id="", access_key=""),
        request_id="",
        now=datetime(2026, 1, 1, tzinfo=UTC),
        user_agent=agent,
    )


def admitted(throttle: Throttle, call: Call, attempts: int = 2000) -> int:
    """How many of so many attempts at one moment are let through."""
    count = 0
    for _ in range(attempts):
        try:
            throttle.admit(call)
        except RequestLimitExceeded:
            continue
        count += 1
    return count


@pytest.mark.parametrize(
    ("wanted", "capacity", "refill"),
    [
        (call("DescribeVpcs"), 100, 20),
        (call("GetConsoleOutput"), 100, 20),
        (call("DescribeInstances"), 50, 10),
        (call("DescribeInstances", Filters=[{}]), 100, 20),
        (call("DescribeInstances", MaxResults=5), 100, 20),
        (call("DescribeVpcs", agent=f"aws-sdk-js/3 {CONSOLE}"), 100, 10),
        (call("CreateVpc"), 50, 5),
        (call("CreateKeyPair"), 50, 5),
        (call("CreateTags"), 100, 10),
        (call("RunInstances", MaxCount=1), 5, 2),
        (call("TerminateInstances", InstanceIds=["i-1"]), 100, 5),
        (call("DescribeInstanceTopology"), 1, 1),
    ],
)
def test_the_documented_buckets(throttle, clock, wanted, capacity, refill):
    assert admitted(throttle, wanted) == capacity
    clock.ahead += 1
    assert admitted(throttle, wanted) == min(refill, capacity)
    clock.ahead += 3600
    assert admitted(throttle, wanted) == capacity


def test_slow_buckets_refill_by_fractions(throttle, clock):
    wanted = call("CreateVpcEndpoint")
    assert admitted(throttle, wanted) == 4
    for _ in range(3):
        clock.ahead += 1
        assert admitted(throttle, wanted) == 0
    clock.ahead += 1
    assert admitted(throttle, wanted) == 1


def test_accounts_regions_and_actions_have_buckets_of_their_own(throttle):
    assert admitted(throttle, call("CreateVpc")) == 50
    for other in (call("CreateVpc", account="2"), call("CreateVpc", region="s"), call("DeleteVpc")):
        assert admitted(throttle, other) == 50


def test_instances_are_counted_too(throttle, clock):
    assert admitted(throttle, call("RunInstances", MinCount=1, MaxCount=600)) == 1  # 400 are left
    clock.ahead += 5
    assert admitted(throttle, call("RunInstances", MinCount=1, MaxCount=411)) == 0
    assert admitted(throttle, call("RunInstances", MinCount=1, MaxCount=410)) == 1
    names = [f"i-{number}" for number in range(500)]
    assert admitted(throttle, call("TerminateInstances", InstanceIds=names)) == 2


def test_what_is_refused_costs_nothing(throttle):
    assert admitted(throttle, call("RunInstances", MaxCount=1001)) == 0
    assert admitted(throttle, call("RunInstances", MaxCount=200)) == 5


def test_other_services_are_free(throttle):
    assert admitted(throttle, call("GetParameter", service="ssm"), 500) == 500


def test_memory_is_bounded(clock):
    throttle = Throttle(clock, kept=10)
    for number in range(100):
        throttle.admit(call("CreateVpc", account=str(number)))
    assert len(throttle._buckets) == 10


@given(st.lists(st.floats(0, 10), max_size=60))
def test_no_more_than_capacity_and_refill_ever_pass(pauses):
    clock = HandClock()
    throttle = Throttle(clock)
    passed = 0
    for pause in pauses:
        clock.ahead += pause
        passed += admitted(throttle, call("RunInstances"), 8)
    assert passed <= 5 + 2 * clock.ahead + 1e-6


def test_the_table_names_operations_of_ec2():
    table = limits.EC2
    for named in (table.own, table.resources, table.unfiltered_actions, table.resource_intensive_actions):
        assert set(named) <= set(load_service("ec2").operations)
    assert not table.own.keys() & (table.unfiltered_actions | table.resource_intensive_actions)
