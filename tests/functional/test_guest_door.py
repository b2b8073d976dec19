"""Guests reach the API through the agent, which says who they are; nobody else can."""

import asyncio
import datetime
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from agent_host import LoopbackNetwork, interface_spec, until, vpc_spec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from pileus.agent import relay
from pileus.agent.relay import ApiRelay, ApiSide
from pileus.base.clock import SystemClock
from pileus.base.proxy_header import Origin, encode
from pileus.cmd import guest_door
from pileus.cmd.guest_door import GuestDoor
from pileus.drivers.errors import RetryableError
from pileus.hostapi.network_spec import EndpointSpec, NetworkSpec, ServiceSpec

NETWORK = NetworkSpec(
    services=(ServiceSpec(service="api", address="127.0.0.1"),),
    vpcs=(
        replace(
            vpc_spec("vpc-1", replace(interface_spec(9), kind="endpoint")),
            endpoints=(EndpointSpec(endpoint_id="vpce-1", service="api", interfaces=("eni-9",)),),
        ),
    ),
)


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Says who asks, and how much was sent."""
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    seen = {"client": scope["client"][0], "scheme": scope["scheme"], "size": size, **scope.get("state", {})}
    body = json.dumps(seen).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def an_api(path: Path, **settings: Any) -> AsyncIterator[int]:
    """A server with a door for guests, on a port of the loopback interface besides."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(app, http="httptools", loop="none", lifespan="off", log_config=None, **settings)  # type: ignore[arg-type]
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    door = asyncio.create_task(GuestDoor(path, server).run())
    await until(lambda: server.started and path.exists())
    try:
        yield port
    finally:
        door.cancel()
        server.should_exit = True
        await asyncio.gather(serving, door, return_exceptions=True)


@pytest.fixture
async def network() -> LoopbackNetwork:
    network = LoopbackNetwork()
    await network.apply(NETWORK)
    return network


async def ask(
    port: int, source: str = "127.0.0.7", body: bytes = b"", tls: ssl.SSLContext | None = None
) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), ssl=tls)
    head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def enter(hop: ApiRelay, network: LoopbackNetwork) -> None:
    network.ports.clear()
    await hop.enter(NETWORK)
    await until(lambda: {"services", "vpce-1"} <= network.ports.keys())


async def test_the_api_sees_the_guest_itself(tmp_path: Path, network: LoopbackNetwork) -> None:
    door = tmp_path / "door"
    hop = ApiRelay(network, ApiSide(socket=door, ports=(80,)), SystemClock())
    async with an_api(door) as public:
        await enter(hop, network)
        endpoint = await ask(network.ports["vpce-1"], body=bytes(3 << 20))
        assert endpoint == {
            "client": "127.0.0.7",
            "scheme": "http",
            "size": 3 << 20,
            "vpc": "vpc-1",
            "endpoint": "vpce-1",
        }
        assert (await ask(network.ports["services"]))["vpc"] == ""
        assert "vpc" not in await ask(public)
    with pytest.raises((OSError, json.JSONDecodeError)):  # the API is not there
        await ask(network.ports["services"])
    await hop.leave(replace(NETWORK, vpcs=()))
    with pytest.raises(OSError):
        await ask(network.ports["vpce-1"])
    await hop.close()


async def test_connections_end_with_their_place(tmp_path: Path, network: LoopbackNetwork) -> None:
    door = tmp_path / "door"
    hop = ApiRelay(network, ApiSide(socket=door, ports=(80,)), SystemClock())
    async with an_api(door):
        await enter(hop, network)
        reader, writer = await asyncio.open_connection("127.0.0.1", network.ports["vpce-1"])
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await hop.close()
        async with asyncio.timeout(5):
            while await reader.read(1000):
                pass
        writer.close()


async def test_one_guest_can_not_take_all_connections(
    tmp_path: Path, network: LoopbackNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_PER_SOURCE", 3)
    door = tmp_path / "door"
    hop = ApiRelay(network, ApiSide(socket=door, ports=(80,)), SystemClock())
    async with an_api(door):
        await enter(hop, network)
        port = network.ports["vpce-1"]
        held = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.8", 0)) for _ in range(3)]
        with pytest.raises((OSError, json.JSONDecodeError)):
            await ask(port, source="127.0.0.8")
        assert (await ask(port, source="127.0.0.7"))["client"] == "127.0.0.7"
        for _, writer in held:
            writer.close()
        for _ in range(100):
            try:
                assert (await ask(port, source="127.0.0.8"))["client"] == "127.0.0.8"
                break
            except (OSError, json.JSONDecodeError):
                await asyncio.sleep(0.02)
        else:
            pytest.fail("the places are never free again")
        await hop.close()


async def test_tls_passes_through(tmp_path: Path, network: LoopbackNetwork) -> None:
    certificate, key = a_certificate(tmp_path)
    door = tmp_path / "door"
    hop = ApiRelay(network, ApiSide(socket=door, ports=(443,)), SystemClock())
    tls = ssl.create_default_context(cafile=str(certificate))
    tls.check_hostname = False
    async with an_api(door, ssl_certfile=str(certificate), ssl_keyfile=str(key)):
        await enter(hop, network)
        seen = await ask(network.ports["vpce-1"], tls=tls)
        assert (seen["client"], seen["scheme"], seen["vpc"]) == ("127.0.0.7", "https", "vpc-1")
        await hop.close()


async def test_nobody_speaks_for_guests_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = tmp_path / "door"
    header = encode(Origin(source="10.0.0.4", source_port=1, destination="10.0.0.9", destination_port=80, vpc="vpc-1"))

    async def says(first: bytes, port: int | None = None) -> bytes:
        reader, writer = (
            await asyncio.open_unix_connection(str(door))
            if port is None
            else await asyncio.open_connection("127.0.0.1", port)
        )
        try:
            writer.write(first + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async with an_api(door) as public:
        assert door.stat().st_mode & 0o777 == 0o600
        assert b'"vpc-1"' in await says(header)
        assert await says(b"") == b""  # without a header it is no guest's
        assert not (await says(header, public)).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(guest_door, "_peer_uid", lambda _: os.geteuid() + 1)
        assert await says(header) == b""


def a_certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


async def test_a_place_that_is_not_ready_holds_up_no_other(
    tmp_path: Path, network: LoopbackNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = tmp_path / "door"
    hop = ApiRelay(network, ApiSide(socket=door, ports=(80,)), SystemClock())
    listen, refused = network.listen, ["services"]

    async def sometimes(place: str, address: str, port: int) -> socket.socket:
        if place in refused:
            raise RetryableError("not now")
        return await listen(place, address, port)

    monkeypatch.setattr(network, "listen", sometimes)
    async with an_api(door):
        await hop.enter(NETWORK)
        await until(lambda: "vpce-1" in network.ports)
        assert (await ask(network.ports["vpce-1"]))["vpc"] == "vpc-1"
        assert "services" not in network.ports
        refused.clear()
        await until(lambda: "services" in network.ports)
        assert (await ask(network.ports["services"]))["vpc"] == ""
    await hop.close()
