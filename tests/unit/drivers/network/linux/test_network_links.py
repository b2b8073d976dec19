"""The ``ip`` commands between two states of a namespace."""

from pileus.drivers.network.linux.links import Address, Link, Neighbour, Route, State, change, delete_together, missing

TAP = Link("vt1", "02:00:a9:fe:00:01", "eni-1")
FULL = State(
    links=frozenset({TAP}),
    addresses=frozenset({Address("10.0.0.1", "vt1"), Address("10.0.0.2", "lo")}),
    neighbours=frozenset({Neighbour("10.0.0.5", "vt1", "02:00:00:00:00:05")}),
    routes=frozenset({Route("10.0.0.5", "vt1"), Route("10.0.0.0/16", ""), Route("default", "edge", "169.254.0.1")}),
)


def test_equal_states_need_nothing() -> None:
    assert change(FULL, FULL) == []
    assert missing(FULL, FULL) == []


def test_everything_is_set_up_in_an_order_that_the_kernel_takes() -> None:
    assert missing(State(), FULL) == [TAP]
    assert change(State(), FULL) == [
        "link set vt1 address 02:00:a9:fe:00:01 mtu 1500 alias eni-1 up",
        "address replace 10.0.0.1/32 dev vt1",
        "address replace 10.0.0.2/32 dev lo",
        "neighbour replace 10.0.0.5 lladdr 02:00:00:00:00:05 nud permanent dev vt1",
        "route replace blackhole 10.0.0.0/16",
        "route replace 10.0.0.5 dev vt1",
        "route replace default via 169.254.0.1 onlink dev edge",
    ]


def test_what_is_on_a_link_goes_with_it() -> None:
    assert change(FULL, FULL.bare()) == ["link delete vt1", "route delete default"]


def test_a_route_that_moves_is_never_absent() -> None:
    before = State(routes=frozenset({Route("203.0.113.5", "vpc1", "169.254.0.1")}))
    after = State(routes=frozenset({Route("203.0.113.5", "vpc2", "169.254.0.1")}))
    assert change(before, after) == ["route replace 203.0.113.5 via 169.254.0.1 onlink dev vpc2"]


def test_a_neighbour_with_another_mac_is_replaced() -> None:
    before = State(links=frozenset({TAP}), neighbours=frozenset({Neighbour("10.0.0.5", "vt1", "02:00:00:00:00:05")}))
    after = State(links=frozenset({TAP}), neighbours=frozenset({Neighbour("10.0.0.5", "vt1", "02:00:00:00:00:06")}))
    assert change(before, after) == ["neighbour replace 10.0.0.5 lladdr 02:00:00:00:00:06 nud permanent dev vt1"]


def test_a_link_that_is_down_is_set_up_again() -> None:
    assert change(State(links=frozenset({Link("vt1", "", "eni-1")})), State(links=frozenset({TAP}))) == [
        "link set vt1 address 02:00:a9:fe:00:01 mtu 1500 alias eni-1 up"
    ]


def test_many_links_are_deleted_as_one_group() -> None:
    assert delete_together(["b", "a"]) == ["link set a group 1", "link set b group 1", "link delete group 1"]
    assert delete_together([]) == []
