"""Which tracked connections are to be forgotten."""

import pytest

from pileus.drivers.network.linux.conntrack import Flow, stale

INWARD = {"203.0.113.5": "10.0.0.5"}


@pytest.mark.parametrize(
    ("flow", "filters"),
    [
        (("192.0.2.1", "203.0.113.5", "10.0.0.5", "192.0.2.1"), set()),
        (("192.0.2.1", "203.0.113.5", "10.0.0.6", "192.0.2.1"), {"--orig-dst 203.0.113.5 --reply-src 10.0.0.6"}),
        (("192.0.2.1", "203.0.113.9", "10.0.0.5", "192.0.2.1"), {"--orig-dst 203.0.113.9 --reply-src 10.0.0.5"}),
        (("10.0.0.5", "192.0.2.1", "192.0.2.1", "203.0.113.5"), set()),
        (("10.0.0.6", "192.0.2.1", "192.0.2.1", "203.0.113.5"), {"--orig-src 10.0.0.6 --reply-dst 203.0.113.5"}),
        (("10.0.0.5", "10.0.0.6", "10.0.0.6", "10.0.0.5"), set()),
        (("10.0.0.7", "10.0.0.6", "10.0.0.6", "10.0.0.7"), {"--orig-src 10.0.0.7"}),
        (("10.0.0.6", "10.0.0.7", "10.0.0.7", "10.0.0.6"), {"--reply-src 10.0.0.7"}),
    ],
)
def test_flows_by_an_ownership_that_ended_are_forgotten(flow: Flow, filters: set[str]) -> None:
    assert stale([flow], INWARD, released={"10.0.0.7"}) == filters
