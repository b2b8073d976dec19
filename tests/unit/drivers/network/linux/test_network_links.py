"""The ``ip`` commands between two states of a namespace."""

from pileus.drivers.network.linux.links import (
    Address,
    Link,
    Neighbour,
    Route,
    Rule,
    State,
    change,
    delete_together,
    destination,
    missing,
)

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
    assert change(FULL, FULL.bare()) == ["route delete default", *delete_together(["vt1"])]


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


def test_an_address_is_at_its_new_link_before_the_old_one_goes() -> None:
    other = Link("vt2", "02:00:a9:fe:00:01", "eni-2")
    before = State(links=frozenset({TAP}), routes=frozenset({Route("10.0.0.5", "vt1")}))
    after = State(links=frozenset({other}), routes=frozenset({Route("10.0.0.5", "vt2")}))
    assert change(before, after)[1:] == ["route replace 10.0.0.5 dev vt2", *delete_together(["vt1"])]


def test_routes_of_all_tables_and_kinds_have_words() -> None:
    routes = {
        Route("10.0.0.0/16", "", table=5000, thrown=True),
        Route("default", "", table=5000),
        Route("::/0", "edge", "fe80::1", 5000),
    }
    made = change(State(), State(routes=frozenset(routes)))
    assert sorted(made) == [
        "route replace ::/0 via fe80::1 onlink dev edge table 5000",
        "route replace blackhole default table 5000",
        "route replace throw 10.0.0.0/16 table 5000",
    ]
    assert sorted(change(State(routes=frozenset(routes)), State())) == [
        "route delete ::/0 table 5000",
        "route delete blackhole default table 5000",
        "route delete throw 10.0.0.0/16 table 5000",
    ]


def test_rules_come_after_the_routes_of_their_table() -> None:
    after = State(
        routes=frozenset({Route("default", "edge", "169.254.0.1", 5000)}),
        rules=frozenset({Rule(100, "fwmark 0x1388", 5000)}),
    )
    made = change(State(), after)
    assert made[0].startswith("route replace default")
    assert made[1] == "rule add fwmark 0x1388 lookup 5000 priority 100"
    assert change(after, State())[-1] == "rule delete fwmark 0x1388 lookup 5000 priority 100"


def test_destinations_are_written_as_ip_prints_them() -> None:
    assert destination("0.0.0.0/0") == "default"
    assert destination("::/0") == "::/0"
    assert destination("10.0.0.5/32") == destination("10.0.0.5") == "10.0.0.5"
    assert destination("2001:0db8::5/128") == "2001:db8::5"
    assert destination("2001:0db8::/56") == "2001:db8::/56"
