"""What the network driver ``linux`` lets pass, tried with real packets between network stacks."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest
from network_lab import ANY, EVERYTHING, HOST, Guest, Lab, group, inside, interface, network, tcp, vpc

from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.drivers.network.reachability import allows
from pileus.hostapi.network_spec import NetworkSpec, RuleSpec

pytestmark = [pytest.mark.root, pytest.mark.slow]

ECHO = RuleSpec(protocol="icmp", from_port=8, to_port=-1, cidr=ANY)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


async def start(lab: Lab, spec: NetworkSpec, **options: object) -> tuple[LinuxNetwork, list[Guest]]:
    """A driver with the spec, and all its guests with their addresses, serving port 80."""
    driver = lab.driver(**options)
    await driver.open()
    await driver.apply(spec)
    nics = [nic for part in spec.vpcs for nic in part.interfaces]
    guests = [await lab.guest(driver, nic) for nic in nics]
    return driver, [guest.configure().serve(80) for guest in guests]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what comes soon."""
    for _ in range(50):
        if condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come")


async def test_groups_decide_within_a_subnet(lab: Lab) -> None:
    groups = (group("sg-web", tcp(80, cidr=ANY), ECHO), group("sg-none"))
    _, (web, other) = await start(lab, network(vpc("vpc-1", groups, interface(5, "sg-web"), interface(6, "sg-none"))))
    assert other.connect(web.address, 80, source_port=4000) == f"{other.address}:4000"
    assert other.pings(web.address)
    assert web.connect(other.address, 80) is None
    assert not web.pings(other.address)
    assert other.serve(81).connect(web.address, 81) is None


async def test_the_union_of_several_groups_counts(lab: Lab) -> None:
    groups = (group("sg-a", tcp(80, cidr=ANY)), group("sg-b", tcp(81, cidr=ANY)))
    _, (both, sender) = await start(
        lab, network(vpc("vpc-1", groups, interface(5, "sg-a", "sg-b"), interface(6, "sg-a")))
    )
    both.serve(81).serve(82)
    assert sender.connect(both.address, 80)
    assert sender.connect(both.address, 81)
    assert sender.connect(both.address, 82) is None


async def test_a_rule_that_names_a_group_means_its_members(lab: Lab) -> None:
    def groups(*members: str) -> tuple[object, ...]:
        return group("sg-db", tcp(80, source="sg-app")), group("sg-app", members=members)

    nics = interface(5, "sg-db"), interface(6, "sg-app"), interface(7, "sg-app")
    driver, (database, one, two) = await start(lab, network(vpc("vpc-1", groups(nics[1].private_address), *nics)))
    assert one.connect(database.address, 80)
    assert two.connect(database.address, 80) is None
    await driver.apply(network(vpc("vpc-1", groups(nics[2].private_address), *nics)))
    assert one.connect(database.address, 80) is None
    assert two.connect(database.address, 80)


async def test_egress_rules_bind_the_sender(lab: Lab) -> None:
    groups = (EVERYTHING, group("sg-mute", egress=(tcp(80, cidr="10.0.0.6/32"),)))
    nics = interface(5, "sg-mute"), interface(6, "sg-open"), interface(7, "sg-open")
    _, (mute, friend, stranger) = await start(lab, network(vpc("vpc-1", groups, *nics)))
    assert mute.connect(friend.address, 80)
    assert mute.connect(stranger.address, 80) is None
    assert not mute.pings(friend.address)


async def test_open_connections_outlive_their_rule(lab: Lab) -> None:
    nics = interface(5, "sg-a"), interface(6, "sg-a")
    # A rule for everybody would leave connections untracked, and take them along when it goes.
    groups = (group("sg-a", tcp(80, cidr="10.0.0.0/16")),)
    driver, (server, client) = await start(lab, network(vpc("vpc-1", groups, *nics)))
    with client.open(server.address, 80) as connection:
        await driver.apply(network(vpc("vpc-1", (group("sg-a"),), *nics)))
        assert client.connect(server.address, 80) is None
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"


async def test_bulk_data_passes_with_offloads(lab: Lab) -> None:
    nics = interface(5, "sg-open"), interface(6, "sg-open")
    _, (server, client) = await start(lab, network(vpc("vpc-1", (EVERYTHING,), *nics)))
    payload, received = bytes(range(256)) * 4096, b""
    with client.open(server.address, 80) as connection:
        sending = asyncio.to_thread(connection.sendall, payload)
        task = asyncio.create_task(sending)
        while len(received) < len(payload):
            received += await asyncio.to_thread(connection.recv, 65536)
        await task
    assert received == payload


async def test_vpcs_with_the_same_addresses_know_nothing_of_each_other(lab: Lab) -> None:
    one = vpc("vpc-1", (EVERYTHING,), interface(5, "sg-open"), interface(6, "sg-open"))
    two = vpc("vpc-2", (EVERYTHING,), interface(6, "sg-open", interface_id="eni-26"), interface(7, "sg-open"))
    _, (first, its_peer, twin, stranger) = await start(lab, network(one, two))
    its_peer.serve(81)
    assert first.connect(its_peer.address, 81)
    assert first.connect(stranger.address, 80) is None
    assert stranger.connect(twin.address, 80)
    assert stranger.connect(twin.address, 81) is None


async def test_subnets_of_a_vpc_reach_each_other(lab: Lab) -> None:
    nics = interface(5, "sg-open"), interface(6, "sg-open", subnet="10.0.16.0/20")
    _, (here, there) = await start(lab, network(vpc("vpc-1", (EVERYTHING,), *nics)))
    assert here.connect(there.address, 80)
    assert there.pings(here.address)


async def test_a_public_address_works_from_everywhere(lab: Lab) -> None:
    nics = (
        interface(5, "sg-web", public="203.0.113.10"),
        interface(6, "sg-web", public="203.0.113.11"),
        interface(7, "sg-web"),
    )
    far = interface(5, "sg-web", interface_id="eni-25", public="203.0.113.12")
    groups = (group("sg-web", tcp(80, cidr=ANY)),)
    _, guests = await start(lab, network(vpc("vpc-1", groups, *nics), vpc("vpc-2", groups, far)))
    server, neighbour, private, stranger = guests
    server.serve(81)
    assert (lab.connect("203.0.113.10", 80) or "").startswith(f"{HOST}:")
    assert lab.connect("203.0.113.10", 81) is None
    assert neighbour.connect("203.0.113.10", 80, source_port=4000) == "203.0.113.11:4000"
    assert stranger.connect("203.0.113.10", 80, source_port=4000) == "203.0.113.12:4000"
    assert server.connect("203.0.113.10", 80, source_port=4000) == "203.0.113.10:4000"
    assert private.connect("203.0.113.10", 80) is None


async def test_an_address_that_moves_is_the_new_owners_at_once(lab: Lab) -> None:
    address = "203.0.113.10"

    def spec(*owner: bool) -> NetworkSpec:
        first, second, third = (
            interface(nic_number, "sg-open", public=address if owns else None)
            for nic_number, owns in zip((5, 6, 7), owner, strict=True)
        )
        return network(vpc("vpc-1", (EVERYTHING,), first, second), vpc("vpc-2", (EVERYTHING,), third))

    driver, (old, new, other) = await start(lab, spec(True, False, False))
    for guest, port in ((old, 1005), (new, 1006), (other, 1007)):
        guest.serve(port)
    with socket.create_connection((address, 80), timeout=5) as connection:
        connection.recv(100)
        await driver.apply(spec(False, True, False))
        assert lab.connect(address, 1006)
        assert lab.connect(address, 1005) is None
        connection.settimeout(0.5)
        connection.sendall(b"anybody?")
        with pytest.raises(OSError):  # a reset from the new owner, or silence: not an answer of the old one
            assert connection.recv(100) == b"never"
    assert old.connect("203.0.113.10", 1006) is None, "the old owner has no public address any more"
    await driver.apply(spec(False, False, True))
    assert lab.connect(address, 1007)
    assert (await driver.observe()).public_addresses == {address}
    await driver.apply(spec(False, False, False))
    assert lab.connect(address, 1007) is None


async def test_guests_reach_neither_host_nor_edge(lab: Lab) -> None:
    nics = (interface(5, "sg-open", public="203.0.113.10"), interface(6, "sg-open"))
    _, guests = await start(lab, network(vpc("vpc-1", (EVERYTHING,), *nics)))
    with socket.create_server(("0.0.0.0", 7000)):
        for guest in guests:
            for address in (
                HOST,
                "169.254.0.1",
                "10.0.0.1",
                "10.0.0.2",
                "169.254.169.254",
                "203.0.113.99",
                "192.0.2.7",
            ):
                assert guest.connect(address, 7000, timeout=0.3) is None, address
                assert not guest.pings(address), address


async def test_forged_senders_are_dropped(lab: Lab) -> None:
    nics = interface(5, "sg-open"), interface(6, "sg-open")
    _, (liar, victim) = await start(lab, network(vpc("vpc-1", (EVERYTHING,), *nics)))
    assert liar.pings(victim.address)
    gateway_mac = bytes.fromhex("0200a9fe0001")
    mac, other_mac = (bytes.fromhex(nic.mac.replace(":", "")) for nic in nics)
    with victim.sniffer() as sniffer:
        liar.send_frame(gateway_mac + mac + _udp("10.0.0.99", victim.address, b"forged address"))
        liar.send_frame(gateway_mac + other_mac + _udp(liar.address, victim.address, b"forged mac"))
        liar.send_frame(gateway_mac + mac + _udp(liar.address, victim.address, b"the truth"))
        assert _heard(sniffer, b"the truth") == [b"the truth"]


async def test_forged_arp_is_neither_answered_nor_learned(lab: Lab) -> None:
    nics = interface(5, "sg-open"), interface(6, "sg-open")
    _, (liar, _) = await start(lab, network(vpc("vpc-1", (EVERYTHING,), *nics)))
    mac = bytes.fromhex(nics[0].mac.replace(":", ""))
    with liar.sniffer() as sniffer:
        liar.send_frame(_arp_request(mac, "10.0.0.6", "10.0.0.1"))
        assert not _arp_answers(sniffer)
        liar.send_frame(_arp_request(mac, "10.0.0.5", "10.0.0.1"))
        assert _arp_answers(sniffer) == {"10.0.0.1"}
        liar.send_frame(_arp_request(mac, "10.0.0.5", "10.0.0.6"))
        assert _arp_answers(sniffer) == {"10.0.0.6"}
        liar.send_frame(_arp_request(mac, "0.0.0.0", "10.0.0.5"))
        assert not _arp_answers(sniffer), "its own address is free: nobody else has it"


async def test_without_the_source_check_a_guest_may_route_but_not_ask_for_others(lab: Lab) -> None:
    nics = interface(5, "sg-open", source_dest_check=False), interface(6, "sg-open")
    driver, (router, peer) = await start(lab, network(vpc("vpc-1", (EVERYTHING,), *nics)))
    mac, to = bytes.fromhex(nics[0].mac.replace(":", "")), bytes.fromhex("0200a9fe0001")
    with peer.sniffer() as sniffer:
        router.send_frame(to + mac + _udp("10.9.9.9", peer.address, b"routed"))
        assert _heard(sniffer, b"routed") == [b"routed"]
    with await driver.listen("vpc-1", "169.254.169.254", 80) as listener:
        listener.settimeout(0.5)
        router.ip("address add 10.0.0.6/32 dev lo")
        with pytest.raises(OSError):
            _connect_from(router, "10.0.0.6", "169.254.169.254")


async def test_the_metadata_listener_sees_who_asks(lab: Lab) -> None:
    one = vpc("vpc-1", (group("sg-none", egress=()),), interface(5, "sg-none"), interface(6, "sg-none"))
    two = vpc("vpc-2", (group("sg-none", egress=()),), interface(5, "sg-none", interface_id="eni-25"))
    driver, guests = await start(lab, network(one, two))
    listeners = {name: await driver.listen(name, "169.254.169.254", 80) for name in ("vpc-1", "vpc-2")}
    for guest, name in zip(guests, ("vpc-1", "vpc-1", "vpc-2"), strict=True):
        listener = listeners[name]
        listener.settimeout(5)
        with guest_connection(guest, "169.254.169.254"):
            connection, peer = listener.accept()
            connection.close()
            assert peer[0] == guest.address
    assert lab.connect("169.254.169.254", 80) is None
    for listener in listeners.values():
        listener.close()


async def test_dhcp_and_dns_of_a_guest(lab: Lab) -> None:
    nic = interface(5, "sg-none", subnet="10.0.16.0/20", public="203.0.113.10")
    driver = lab.driver()
    await driver.open()
    spec = network(vpc("vpc-1", (group("sg-none", egress=()),), interface(5, "sg-none", interface_id="eni-9"), nic))
    await driver.apply(spec)
    guest = await lab.guest(driver, nic)
    lease = _lease(lab, guest)
    assert lease["ip"] == "10.0.16.5"
    assert (lease["subnet"], lease["router"], lease["dns"]) == ("255.255.240.0", "10.0.16.1", "10.0.0.2")
    assert (lease["hostname"], lease["domain"], lease["mtu"]) == ("ip-10-0-16-5", "ec2.internal", "1500")
    guest.configure()
    for server in ("10.0.0.2", "169.254.169.253"):
        assert _ask(guest, server, "ip-10-0-16-5.ec2.internal") == (0, "10.0.16.5")
    assert _ask(guest, "10.0.0.2", "ec2-203-0-113-10.compute-1.example.com") == (0, "10.0.16.5")
    assert _ask(guest, "10.0.0.2", "ip-10-0-0-5.ec2.internal") == (0, "10.0.0.5")
    assert _ask(guest, "10.0.0.2", "5.16.0.10.in-addr.arpa", kind=12)[0] == 0
    assert _ask(guest, "10.0.0.2", "www.example.com") == (3, "")
    assert _ask(guest, "10.0.0.2", "1.113.0.203.in-addr.arpa", kind=12) == (3, "")


async def test_names_follow_the_spec_without_a_restart(lab: Lab) -> None:
    nic = interface(5, "sg-none")
    driver, (guest,) = await start(lab, network(vpc("vpc-1", (group("sg-none"),), nic)))
    before = lab.processes()
    await driver.apply(network(vpc("vpc-1", (group("sg-none"),), nic, interface(6, "sg-none"))))
    await until(lambda: _ask(guest, "10.0.0.2", "ip-10-0-0-6.ec2.internal") == (0, "10.0.0.6"))
    await driver.apply(network(vpc("vpc-1", (group("sg-none"),), nic)))
    await until(lambda: _ask(guest, "10.0.0.2", "ip-10-0-0-6.ec2.internal") == (3, ""))
    assert lab.processes() == before


async def test_an_uplink_lets_public_guests_out_and_nobody_in(lab: Lab) -> None:
    world = lab.world()
    nics = interface(5, "sg-open", public="203.0.113.10"), interface(6, "sg-open")
    driver, (public, private) = await start(lab, network(vpc("vpc-1", (EVERYTHING,), *nics)), uplink="up0")
    with socket.create_server(("0.0.0.0", 7000)):
        assert (public.connect("198.51.100.2", 80) or "").startswith("198.51.100.1:")
        assert private.connect("198.51.100.2", 80) is None
        for address in (HOST, "198.51.100.1"):
            assert public.connect(address, 7000) is None
        assert lab.connect("203.0.113.10", 80)
        assert world.connect("203.0.113.10", 80) is None
    await driver.destroy()
    assert lab.rules() == ""
    assert lab.forwarding("up0") == "0"


async def test_with_an_uplink_other_names_are_asked_of_the_hosts_resolvers(lab: Lab) -> None:
    lab.world().answer_dns("192.0.2.80")
    groups, options = (group("sg-none", egress=()),), {"uplink": "up0", "resolvers": ("198.51.100.2",)}
    specs = [
        vpc(name, groups, interface(5, "sg-none", interface_id=name.replace("vpc", "eni")))
        for name in ("vpc-1", "vpc-2")
    ]
    driver, guests = await start(lab, network(*specs), **options)
    for guest in guests:
        assert _ask(guest, "10.0.0.2", "www.example.com") == (0, "192.0.2.80")
        assert _ask(guest, "10.0.0.2", "nobody.ec2.internal") == (3, "")
        assert _ask(guest, "10.0.0.2", "ip-10-0-0-5.ec2.internal") == (0, "10.0.0.5")
        assert guest.connect("198.51.100.2", 80) is None
    assert (await driver.observe()).public_addresses == set()


async def test_the_model_and_the_kernel_agree(lab: Lab) -> None:
    groups = (
        group("sg-web", tcp(80, cidr="203.0.113.0/24"), tcp(80, source="sg-app"), members=("10.0.0.5",)),
        group("sg-app", tcp(80, cidr="10.0.0.5/32"), egress=(tcp(80, cidr="10.0.0.0/16"),), members=("10.0.0.6",)),
    )
    here = (
        interface(5, "sg-web", public="203.0.113.10"),
        interface(6, "sg-app", public="203.0.113.11"),
        interface(7, "sg-web", "sg-app"),
    )
    far = interface(5, "sg-web", interface_id="eni-25", public="203.0.113.12")
    spec = network(vpc("vpc-1", groups, *here), vpc("vpc-2", groups, far))
    _, guests = await start(lab, spec)
    addresses = [guest.address for guest in guests[:3]] + [f"203.0.113.{number}" for number in (10, 11, 12)]
    for address in addresses:
        assert (lab.connect(address, 80, timeout=0.3) is not None) is allows(spec, HOST, address, "tcp", 80), address
        for guest in guests:
            passes = guest.connect(address, 80, timeout=0.3) is not None
            if guest.address == address:  # a guest's own private address never leaves it
                continue
            assert passes is allows(spec, guest.spec.interface_id, address, "tcp", 80), (
                guest.spec.interface_id,
                address,
            )


async def test_without_an_uplink_nothing_leaves_the_host(lab: Lab) -> None:
    lab.world()
    _, (public,) = await start(
        lab, network(vpc("vpc-1", (EVERYTHING,), interface(5, "sg-open", public="203.0.113.10")))
    )
    assert public.connect("198.51.100.2", 80) is None
    assert lab.rules() == ""
    assert lab.forwarding("up0") == "0"


def _udp(source: str, destination: str, payload: bytes) -> bytes:
    """An IPv4 frame without its MACs."""
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0, *map(socket.inet_aton, (source, destination))
    )
    total = sum(struct.unpack(">10H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    head = head[:10] + struct.pack(">H", checksum) + head[12:]
    return b"\x08\x00" + head + struct.pack(">4H", 5000, 5001, 8 + len(payload), 0) + payload


def _heard(sniffer: socket.socket, last: bytes) -> list[bytes]:
    """The payloads of the UDP packets to port 5001 up to ``last``, or until nothing comes any more."""
    found: list[bytes] = []
    try:
        while last not in found:
            frame = sniffer.recv(2048)
            if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == struct.pack(">H", 5001):
                found.append(frame[42:])
    except TimeoutError:
        pass
    return found


def _arp_request(mac: bytes, sender: str, target: str) -> bytes:
    body = struct.pack(
        ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, socket.inet_aton(sender), bytes(6), socket.inet_aton(target)
    )
    return b"\xff" * 6 + mac + b"\x08\x06" + body


def _arp_answers(sniffer: socket.socket) -> set[str]:
    """Whose addresses are answered for, until nothing comes any more."""
    found: set[str] = set()
    try:
        while True:
            frame = sniffer.recv(2048)
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02":
                found.add(socket.inet_ntoa(frame[28:32]))
    except TimeoutError:
        return found


def guest_connection(guest: Guest, address: str) -> socket.socket:
    return _connect_from(guest, "", address)


def _connect_from(guest: Guest, source: str, address: str) -> socket.socket:
    return inside(
        guest.namespace, lambda: socket.create_connection((address, 80), timeout=1, source_address=(source, 0))
    )


def _lease(lab: Lab, guest: Guest) -> dict[str, str]:
    """What a real DHCP client is given."""
    script = lab.root / "lease.sh"
    script.write_text("#!/bin/sh\nenv\n")
    script.chmod(0o755)
    options = ("-O", "mtu", "-O", "hostname", "-O", "domain")
    told = guest.run(
        "busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "10", "-T", "1", *options, "-s", str(script)
    )
    assert told.returncode == 0, told.stderr
    return dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)


def _ask(guest: Guest, server: str, name: str, kind: int = 1) -> tuple[int, str]:
    """The response code, and the address that the last answer ends with."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)

    def exchange() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asking.sendto(question, (server, 53))
            return asking.recv(600)

    answer = inside(guest.namespace, exchange)
    return answer[3] & 15, socket.inet_ntoa(answer[-4:]) if answer[7] else ""
