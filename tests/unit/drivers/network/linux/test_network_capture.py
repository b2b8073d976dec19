"""Flows as the kernel counts them, and what is told of them."""

import json

from network_specs import interface, vpc

from pileus.drivers.network.linux.capture import Flow, observations, parse
from pileus.drivers.network.linux.names import tap_name
from pileus.hostapi.network_spec import AddressSpec

NIC = interface(5, addresses=(AddressSpec(address="10.0.0.5"), AddressSpec(address="10.0.0.6")))
LINK = tap_name("eni-5")


def listed(**sets: list[object]) -> bytes:
    """As nft writes it: set name → elements."""
    entries = [{"set": {"name": name, "elem": elements}} for name, elements in sets.items()]
    return json.dumps({"nftables": [{"metainfo": {}}, *entries]}).encode()


def element(*key: object, packets: int = 0, size: int = 0, expires: int = 180) -> object:
    counter = {"packets": packets, "bytes": size}
    return {"elem": {"val": {"concat": list(key)}, "expires": expires, "counter": counter}}


def test_counts_become_flows_with_their_flags() -> None:
    seen = parse(
        listed(
            bindings4=["x"],
            sent_tcp4=[element(LINK, "10.0.0.6", "192.0.2.1", 4000, 80, packets=3, size=180)],
            unreceived_other4=[element(LINK, "192.0.2.1", "10.0.0.6", 1, packets=1, size=84)],
            seen_syn4=[element("10.0.0.6", "192.0.2.1", 4000, 80, expires=170)],
            seen_fin4=[element("10.0.0.6", "192.0.2.1", 4000, 80, expires=60)],
        )
    )
    tcp, ping = observations(vpc((), NIC), {}, seen, 1000, 1060)
    assert (tcp.source, tcp.packet_source, tcp.destination) == ("10.0.0.5", "10.0.0.6", "192.0.2.1")
    assert (tcp.source_port, tcp.destination_port, tcp.protocol, tcp.packets, tcp.bytes) == (4000, 80, 6, 3, 180)
    assert (tcp.ingress, tcp.accepted, tcp.flags, tcp.start, tcp.end) == (False, True, 2, 1000, 1060)
    assert (ping.ingress, ping.accepted, ping.protocol, ping.destination_port) == (True, False, 1, 0)
    assert (ping.destination, ping.packet_destination) == ("10.0.0.5", "10.0.0.6")


def test_only_what_is_new_is_told() -> None:
    flow = Flow("sent", LINK, 17, ("10.0.0.5", "192.0.2.1", 4000, 53))

    def seen(packets: int) -> object:
        return parse(listed(sent_udp4=[element(LINK, *flow.ends, packets=packets, size=100 * packets)]))

    before, after, again = seen(3), seen(5), seen(1)
    assert [one.packets for one in observations(vpc((), NIC), before.counts, after, 0, 60)] == [2]
    assert list(observations(vpc((), NIC), after.counts, after, 0, 60)) == []
    assert [one.packets for one in observations(vpc((), NIC), after.counts, again, 0, 60)] == [1]


def test_links_of_interfaces_that_are_gone_say_nothing() -> None:
    seen = parse(listed(sent_udp4=[element(17, "10.0.0.5", "192.0.2.1", 1, 2, packets=1)]))
    assert list(observations(vpc((), NIC), {}, seen, 0, 60)) == []
