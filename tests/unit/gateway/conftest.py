"""A gateway over a fake dispatch table, reached through ASGI directly and through uvicorn by botocore's own clients."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import pytest
import uvicorn
from botocore.config import Config
from gateway_requests import ACCESS_KEY, REGIONS, SECRET, FakeDispatch, HandClock, Keys

from pileus.gateway.app import Gateway


@pytest.fixture
def dispatch() -> FakeDispatch:
    return FakeDispatch()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def build(dispatch: FakeDispatch, clock: HandClock) -> Callable[..., Gateway]:
    """Builds a gateway; keyword arguments replace the defaults."""

    def with_(**options: Any) -> Gateway:
        defaults = {"keyring": Keys(), "dispatch": dispatch, "regions": REGIONS, "default_region": REGIONS[0]}
        return Gateway(**(defaults | {"clock": clock} | options))

    return with_


@pytest.fixture
def gateway(build: Callable[..., Gateway]) -> Gateway:
    return build()


@pytest.fixture
def served(build: Callable[..., Gateway]) -> Iterator[Callable[..., str]]:
    """Serves a gateway by uvicorn on a loopback port of the kernel's choice; gives the endpoint's URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve(**options: Any) -> str:
        config = uvicorn.Config(build(**options), host="127.0.0.1", port=0, log_config=None, access_log=False)
        server = uvicorn.Server(config)
        ready = threading.Event()
        startup = server.startup

        async def start(sockets: Any = None) -> None:
            await startup(sockets)
            ready.set()

        server.startup = start
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        assert ready.wait(30)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield serve
    for server, thread in running:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def session() -> botocore.session.Session:
    """One for all tests: it keeps the models it has read."""
    return botocore.session.Session()


@pytest.fixture
def client(session: botocore.session.Session, served: Callable[..., str]) -> Iterator[Callable[..., Any]]:
    """botocore's client for a service, at a served gateway."""
    endpoint = ""
    clients: list[Any] = []

    def connect(
        service: str,
        *,
        key: str = ACCESS_KEY,
        secret: str = SECRET,
        token: str | None = None,
        region: str = REGIONS[0],
        **options: Any,
    ) -> Any:
        nonlocal endpoint
        endpoint = endpoint or served(**options)
        made = session.create_client(
            service,
            region,
            endpoint_url=endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"max_attempts": 0}),
        )
        clients.append(made)
        return made

    yield connect
    for made in clients:
        made.close()
