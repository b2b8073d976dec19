"""The metadata service over real connections: with cloud-init, with botocore, and with guests that mean no good."""

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from agent_host import LoopbackNetwork, guest_spec, metadata_spec, until, vpc_spec
from botocore.session import Session
from botocore.utils import IMDSRegionProvider, InstanceMetadataFetcher, InstanceMetadataRegionFetcher
from msgspec.structs import replace

from pileus.agent.metadata import connection
from pileus.agent.metadata.identity import load_or_create
from pileus.agent.metadata.service import MetadataService
from pileus.base.clock import SystemClock
from pileus.hostapi.network_spec import NetworkSpec
from pileus.hostapi.spec import GuestSpec

SYSTEM_PYTHON = "/usr/bin/python3"


class Imds:
    """The service on a loopback port, for guests that have addresses 127.0.0.x."""

    def __init__(self, service: MetadataService, network: LoopbackNetwork) -> None:
        self.service = service
        self.network = network

    def serve(self, *guests: GuestSpec) -> None:
        self.service.accept(guests)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.network.ports['vpc-1']}"

    async def connect(self, number: int = 1, vpc: str = "vpc-1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.network.ports[vpc]
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{number}", 0))

    async def get(
        self, path: str, number: int = 1, vpc: str = "vpc-1", method: str = "GET", headers: str = ""
    ) -> bytes:
        reader, writer = await self.connect(number, vpc)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate, made once: that takes a while."""
    path = tmp_path_factory.mktemp("identity") / "identity.pem"
    load_or_create(path, SystemClock().now())
    return path


def network_of(*vpcs: str) -> NetworkSpec:
    return NetworkSpec(vpcs=tuple(vpc_spec(vpc) for vpc in vpcs))


@asynccontextmanager
async def serving(directory: Path, identity: Path) -> AsyncIterator[Imds]:
    network = LoopbackNetwork()
    await network.apply(network_of("vpc-1", "vpc-2"))
    directory.mkdir()
    shutil.copy(identity, directory)
    service = MetadataService(network, directory, SystemClock())
    await service.open()
    service.accept([guest_spec(1), guest_spec(2)])
    await service.enter(network_of("vpc-1"))
    yield Imds(service, network)
    await service.close()


@pytest.fixture
async def imds(tmp_path: Path, identity: Path) -> AsyncIterator[Imds]:
    async with serving(tmp_path / "metadata", identity) as imds:
        yield imds


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """What came until the connection ended, in order or by a reset."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := await reader.read(65536):
            received += piece
    return received


async def crawl(imds: Imds) -> dict[str, Any]:
    program = Path(__file__).with_name("cloud_init_crawl.py")
    child = await asyncio.create_subprocess_exec(
        SYSTEM_PYTHON,
        program,
        imds.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    out, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 0, err.decode()
    assert not err, err.decode()  # cloud-init warns of leaves that it could not read
    result: dict[str, Any] = json.loads(out)
    return result


@pytest.mark.parametrize("tokens_required", [False, True])
async def test_cloud_init_finds_everything(imds: Imds, tokens_required: bool) -> None:
    imds.serve(guest_spec(1, metadata=metadata_spec(1, tokens_required=tokens_required)))
    found = await crawl(imds)
    assert found["token"]
    assert found["version"] == "2021-03-23"
    assert found["instance_id"] == "i-1"
    assert (found["zone"], found["region"]) == ("eu-central-1a", "eu-central-1")
    assert found["keys"] == ["ssh-ed25519 AAAA mine", "ssh-rsa BBBB yours"]
    assert not found["classic"]
    crawled = found["crawled"]
    assert crawled["user-data"] == "I2Nsb3VkLWNvbmZpZwo="
    assert crawled["dynamic"]["instance-identity"]["document"]["accountId"] == "123456789012"
    metadata = crawled["meta-data"]
    assert metadata["tags"]["instance"] == {"Name": "first", "purpose": "test"}
    assert metadata["block-device-mapping"] == {"ami": "/dev/xvda", "root": "/dev/xvda"}
    assert metadata["network"]["interfaces"]["macs"]["06:00:00:00:00:01"]["ipv4-associations"] == {
        "203.0.113.7": "127.0.0.1"
    }
    assert set(metadata) >= {"placement", "services", "events", "security-groups", "reservation-id", "local-hostname"}
    assert "(skipped)" not in json.dumps(crawled)


@pytest.mark.parametrize("tokens_required", [False, True])
async def test_botocore_finds_the_region_and_no_credentials(imds: Imds, tokens_required: bool) -> None:
    imds.serve(guest_spec(1, metadata=metadata_spec(1, tokens_required=tokens_required)))
    fetcher = InstanceMetadataRegionFetcher(timeout=5, base_url=f"{imds.url}/")
    provider = IMDSRegionProvider(Session(), environ={}, fetcher=fetcher)
    assert await asyncio.to_thread(provider.provide) == "eu-central-1"
    credentials = InstanceMetadataFetcher(timeout=5, base_url=f"{imds.url}/")
    assert await asyncio.to_thread(credentials.retrieve_iam_role_credentials) == {}


def test_both_event_loops_will_do(tmp_path: Path, identity: Path) -> None:
    async def fetch() -> None:
        async with serving(tmp_path / "metadata", identity) as imds:
            headers = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n"
            answer = await imds.get("/latest/api/token", method="PUT", headers=headers)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert (await imds.get("/latest/meta-data/instance-id")).endswith(b"i-1")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(fetch())


async def test_each_guest_reads_its_own_and_strangers_nothing(imds: Imds) -> None:
    for number in (1, 2):
        assert (await imds.get("/latest/meta-data/instance-id", number)).endswith(f"\r\n\r\ni-{number}".encode())
    assert (await imds.get("/latest/meta-data/instance-id", 3)).startswith(b"HTTP/1.1 404 Not Found")
    await imds.service.enter(network_of("vpc-1", "vpc-2"))  # where the same addresses are somebody else's
    assert (await imds.get("/latest/meta-data/instance-id", 1, "vpc-2")).startswith(b"HTTP/1.1 404")


async def test_a_new_spec_shows_at_once_on_an_open_connection(imds: Imds) -> None:
    reader, writer = await imds.connect()
    request = b"GET /latest/meta-data/tags/instance/Name HTTP/1.1\r\nHost: x\r\n\r\n"
    for value in ("first", "second", "third"):
        imds.serve(guest_spec(1, metadata=metadata_spec(1, tags=(("Name", value),))))
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(value)) == value.encode()
    imds.serve(guest_spec(1, power="gone"))
    writer.write(request)
    assert (await reader.readline()).startswith(b"HTTP/1.1 404")
    writer.close()


async def test_an_address_belongs_to_the_guest_that_is_on(imds: Imds) -> None:
    interfaces = metadata_spec(1).interfaces
    successor = guest_spec(2, metadata=metadata_spec(2, interfaces=interfaces))
    leaving = guest_spec(1, power="off")
    for order in ((successor, leaving), (leaving, successor)):
        imds.serve(*order)
        assert (await imds.get("/latest/meta-data/instance-id")).endswith(b"i-2")


async def test_addresses_of_a_prefix_are_their_guests(imds: Imds) -> None:
    (interface,) = metadata_spec(2).interfaces
    owner = metadata_spec(2, interfaces=(replace(interface, ipv4_prefixes=("127.0.0.16/28",)),))
    imds.serve(guest_spec(1), guest_spec(2, metadata=owner))
    for number, answer in ((1, b"i-1"), (2, b"i-2"), (17, b"i-2"), (31, b"i-2")):
        assert (await imds.get("/latest/meta-data/instance-id", number)).endswith(answer)
    assert (await imds.get("/latest/meta-data/instance-id", 32)).startswith(b"HTTP/1.1 404")


async def test_no_listener_stays_in_a_vpc_that_is_gone(imds: Imds) -> None:
    reader, writer = await imds.connect()
    await imds.service.leave(NetworkSpec())
    with pytest.raises(OSError):
        await imds.connect()
    assert await read_to_end(reader) == b""
    writer.close()


@pytest.mark.root
@pytest.mark.parametrize("hop_limit", [1, 7])
async def test_the_token_travels_under_its_hop_limit(imds: Imds, hop_limit: int) -> None:
    """Read from the IP header as it comes: IP_RECVTTL is for datagrams, so a raw socket listens on loopback."""
    imds.serve(guest_spec(1, metadata=metadata_spec(1, hop_limit=hop_limit)))
    port = imds.network.ports["vpc-1"]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sniffer:
        sniffer.bind(("127.0.0.1", 0))
        sniffer.setblocking(False)
        answer = await imds.get(
            "/latest/api/token", method="PUT", headers="X-aws-ec2-metadata-token-ttl-seconds: 60\r\n"
        )
        plain = await imds.get("/latest/meta-data/")
        token, listing = answer[-56:], plain[-40:]
        ttl_of: dict[bytes, int] = {}
        while len(ttl_of) < 2:
            packet = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sniffer, 65536), 10)
            if int.from_bytes(packet[20:22], "big") == port:
                ttl_of |= {content: packet[8] for content in (token, listing) if content in packet}
    assert ttl_of[token] == hop_limit
    assert ttl_of[listing] == socket.socket().getsockopt(socket.IPPROTO_IP, socket.IP_TTL)


async def test_head_is_answered_without_a_body(imds: Imds) -> None:
    answer = await imds.get("/latest/meta-data/instance-id", method="HEAD")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"Content-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_requests_in_a_row_and_in_pieces(imds: Imds) -> None:
    reader, writer = await imds.connect()
    one = b"GET http://169.254.169.254/latest/meta-data/instance%2Did?x=y HTTP/1.1\r\nHost: x\r\n\r\n"
    stream = one * 3 + one.replace(b"Host", b"Connection: close\r\nHost")
    for piece in (stream[:7], stream[7:150], stream[150:151], stream[151:]):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    assert (await reader.read()).count(b"\r\n\r\ni-1") == 4
    writer.close()


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (b"GET nonsense HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"200"),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 40_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000, b"431"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", b"431"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"z" * 100_000, b"431"),
    ],
)
async def test_nonsense_ends_its_connection_and_no_other(imds: Imds, garbage: bytes, status: bytes) -> None:
    reader, writer = await imds.connect(2)
    writer.write(garbage)
    answer = await read_to_end(reader)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1") == 1
    writer.close()
    assert (await imds.get("/latest/meta-data/instance-id")).endswith(b"i-1")


async def test_who_dawdles_is_cut_off(imds: Imds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_WITHIN", 0.3)
    reader, writer = await imds.connect()

    async def dawdle() -> None:
        for byte in b"GET /latest/meta-data/ HTTP/1.1\r\n" + b"X: y\r\n" * 1000:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.01)

    slow = asyncio.create_task(dawdle())
    assert await asyncio.wait_for(read_to_end(reader), 10) == b""
    slow.cancel()
    writer.close()


async def test_who_does_not_read_is_cut_off(imds: Imds) -> None:
    imds.serve(guest_spec(1, metadata=metadata_spec(1, user_data="QUFB" * 5000)))
    _, writer = await imds.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    request = b"GET /latest/user-data HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    for _ in range(50):
        if writer.transport.is_closing():
            break
        writer.write(request)
        await asyncio.sleep(0.01)
    await until(lambda: not imds.service._listeners["vpc-1"]._connections)
    writer.transport.abort()
    imds.serve(guest_spec(1))
    assert (await imds.get("/latest/meta-data/instance-id")).endswith(b"i-1")


async def test_one_guest_can_not_take_all_connections(imds: Imds) -> None:
    greedy = [await imds.connect(2) for _ in range(80)]
    listener = imds.service._listeners["vpc-1"]
    await until(lambda: len(listener._connections) == 64)
    assert (await imds.get("/latest/meta-data/instance-id")).endswith(b"i-1")
    for _, writer in greedy:
        writer.close()
    await until(lambda: not listener._connections)
    assert (await imds.get("/latest/meta-data/instance-id", 2)).endswith(b"i-2")


async def test_a_fault_is_an_answer_without_detail(imds: Imds, caplog: pytest.LogCaptureFixture) -> None:
    imds.serve(guest_spec(1, metadata=metadata_spec(1, user_data="no base64!")))
    answer = await imds.get("/latest/user-data")
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"base64" not in answer
    assert "could not be answered" in caplog.text


async def test_tokens_outlive_the_agent(imds: Imds, tmp_path: Path) -> None:
    path = "/latest/api/token"
    token = (await imds.get(path, method="PUT", headers="X-aws-ec2-metadata-token-ttl-seconds: 60\r\n"))[-56:]
    await imds.service.close()
    successor = MetadataService(imds.network, tmp_path / "metadata", SystemClock())
    await successor.open()
    successor.accept([guest_spec(1, metadata=metadata_spec(1, tokens_required=True))])
    await successor.enter(network_of("vpc-1"))
    header = f"X-aws-ec2-metadata-token: {token.decode()}\r\n"
    assert (await imds.get("/latest/meta-data/instance-id", headers=header)).endswith(b"i-1")
    await successor.close()
