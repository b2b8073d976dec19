"""What a handler is given. Made by the dispatcher, one per call."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from pileus.base.clock import Clock
from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.engines.blocks.interface import Blocks, DraftStore
from pileus.engines.objects.interface import Objects
from pileus.operations.call import Call
from pileus.records.instance import Instance
from pileus.store import Transaction, View

T = TypeVar("T")


class Placement(Protocol):
    """Finds room on a host and promises it in the caller's transaction. Implemented by ``pileus.scheduler``."""

    def place(self, tx: Transaction, instance: Instance) -> Instance:
        """The instance with its host. Raises NoCapacity."""
        ...

    def release(self, tx: Transaction, instance: Instance) -> Instance:
        """The instance without a host; what was promised is free again."""
        ...

    def zones(self, view: View, instance_type: str, region: str) -> Sequence[str]:
        """The zones in which such an instance would find room now, the roomiest first."""
        ...


class Consoles(Protocol):
    """Asks a host for a guest's console. Implemented in ``pileus.cmd`` over the controllers' socket."""

    async def read(self, host_id: str, instance_id: str, what: Literal["output", "screenshot"]) -> bytes:
        """``what`` is ``output`` or ``screenshot`` (PNG). Raises ConsoleUnavailable."""
        ...


class NoCapacity(Exception):
    """No host has room for the instance now."""


class ConsoleUnavailable(Exception):
    """The host does not answer, or the guest has no screen now."""


def no_objects() -> Objects:
    """Where no object store was wired up."""
    raise RuntimeError("this process has no object store")


class NoBlocks:
    """Where no block store was wired up."""

    def session(self) -> DraftStore:
        raise RuntimeError("this process has no block store")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What all calls share, wired once by ``pileus.cmd``. ``objects`` opens the object store when it is first asked for it."""

    config: Config
    clock: Clock
    sealer: Sealer
    placement: Placement
    consoles: Consoles
    objects: Callable[[], Objects] = no_objects
    blocks: Blocks = NoBlocks()


class Context:
    """One call with the data that it may see and change."""

    __slots__ = ("_submit", "_tx", "call", "env", "view")

    def __init__(
        self,
        call: Call,
        env: Environment,
        view: View,
        tx: Transaction | None = None,
        submit: Callable[[Callable[[Transaction], Any]], Awaitable[Any]] | None = None,
    ) -> None:
        self.call = call
        self.env = env
        self.view = view
        self._tx = tx
        self._submit = submit

    @property
    def tx(self) -> Transaction:
        """The transaction of a writing operation."""
        assert self._tx is not None, f"{self.call.operation} is not declared as writing"
        return self._tx

    async def submit(self, work: Callable[[Transaction], T]) -> T:
        """Runs a transaction of a waiting operation's own; see ``Store.submit``."""
        assert self._submit is not None, f"{self.call.operation} is not declared as waiting"
        return await self._submit(work)

    @property
    def account(self) -> str:
        """The caller's account."""
        return self.call.identity.account

    @property
    def region(self) -> str:
        """The region that the call is for."""
        return self.call.region

    @property
    def now(self) -> datetime:
        """The moment of the call, in whole milliseconds, UTC."""
        return self.call.now
