"""Which tracked connections contradict the present addresses."""

import pytest

from pileus.drivers.network.linux.conntrack import Flow, stale

INWARD = {"203.0.113.10": "10.0.0.5"}
OUTSIDE = "198.51.100.9"


@pytest.mark.parametrize(
    "flow",
    [
        Flow("10.0.0.5", "10.0.0.6", "10.0.0.6", "10.0.0.5"),
        Flow(OUTSIDE, "203.0.113.10", "10.0.0.5", OUTSIDE),
        Flow("10.0.0.5", OUTSIDE, OUTSIDE, "203.0.113.10"),
        Flow("10.0.0.7", "203.0.113.2", "203.0.113.2", "198.18.0.4"),
        Flow("2001:db8::5", "2001:db8::6", "2001:db8::6", "2001:db8::5"),
    ],
)
def test_what_agrees_stays(flow: Flow) -> None:
    assert stale([flow], INWARD, {"10.0.0.9", "2001:db8::9"}) == []


@pytest.mark.parametrize(
    "flow",
    [
        Flow(OUTSIDE, "203.0.113.10", "10.0.0.6", OUTSIDE),
        Flow(OUTSIDE, "203.0.113.11", "10.0.0.5", OUTSIDE),
        Flow("10.0.0.6", OUTSIDE, OUTSIDE, "203.0.113.10"),
        Flow("10.0.0.9", "10.0.0.6", "10.0.0.6", "10.0.0.9"),
        Flow("10.0.0.6", "10.0.0.9", "10.0.0.9", "10.0.0.6"),
        Flow("2001:db8::9", "2001:db8::6", "2001:db8::6", "2001:db8::9"),
    ],
)
def test_what_goes_on_by_an_ownership_that_ended_is_forgotten(flow: Flow) -> None:
    assert stale([flow], INWARD, {"10.0.0.9", "2001:db8::9"}) == [flow]
