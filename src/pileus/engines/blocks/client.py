"""The block store as other processes see it: ``BlockClient`` speaks to a ``BlockServer``. Used by hosts and the API."""

import asyncio
import itertools
from collections.abc import Sequence

from pileus.engines.blocks.interface import (
    BlockDamaged,
    BlockMissing,
    Digest,
    DraftClosed,
    Noted,
    SessionLost,
    StoreUnavailable,
)
from pileus.hostapi.block_link import (
    DIGESTS_AT_ONCE,
    NOTED_AT_ONCE,
    BlockRequest,
    Drop,
    Failed,
    Found,
    FromBlocks,
    Get,
    Missing,
    Note,
    Put,
    ReadNoted,
    connect_blocks,
)
from pileus.hostapi.channel import Address, Channel, ChannelError, Heartbeat, until_one_ends

_PATIENCE = 120.0


class BlockClient:
    """Opens sessions with the block store of a cloud. ``wait``: seconds that connecting may take."""

    def __init__(self, address: Address, cloud_id: str, *, wait: float = 5.0) -> None:
        self._address = address
        self._cloud_id = cloud_id
        self._wait = wait

    def session(self) -> "RemoteSession":
        """A new session; it connects at its first call."""
        return RemoteSession(self._address, self._cloud_id, self._wait)


class RemoteSession:
    """A session over a connection of its own. Calls may overlap.

    While there is no connection, calls raise StoreUnavailable, and each tries to connect again. If there was one, and
    ``missing`` or ``put`` was called over it, what those protect is protected no more: they raise SessionLost then, for good,
    and the user begins anew with another session. Reading goes on in the same one.
    """

    def __init__(self, address: Address, cloud_id: str, wait: float) -> None:
        self._address = address
        self._cloud_id = cloud_id
        self._wait = wait
        self._numbers = itertools.count(1)
        self._connecting = asyncio.Lock()
        self._channel: Channel[FromBlocks] | None = None
        self._conversation: asyncio.Task[None] | None = None
        self._questions: dict[int, asyncio.Future[Found]] = {}
        self._protects = False
        self._lost = False
        self._closed = False

    async def missing(self, digests: Sequence[Digest]) -> Sequence[Digest]:
        found: list[Digest] = []
        for start in range(0, len(digests), DIGESTS_AT_ONCE):
            part = list(digests[start : start + DIGESTS_AT_ONCE])
            answer = await self._ask(Missing(number=next(self._numbers), digests=part), protects=True)
            found += answer.digests
        return found

    async def put(self, data: bytes) -> Digest:
        return (await self._ask(Put(number=next(self._numbers), data=data), protects=True)).data

    async def get(self, digest: Digest) -> bytes:
        return (await self._ask(Get(number=next(self._numbers), digest=digest))).data

    async def note(self, draft: str, noted: Noted) -> None:
        number = next(self._numbers)
        note = Note(number=number, draft=draft, index=noted.index, digest=noted.digest, label=noted.tag)
        await self._ask(note, protects=True)

    async def noted(self, draft: str, after: int, limit: int) -> Sequence[Noted]:
        limit = min(limit, NOTED_AT_ONCE)
        answer = await self._ask(ReadNoted(number=next(self._numbers), draft=draft, after=after, limit=limit))
        return [Noted(*entry) for entry in answer.entries]

    async def drop(self, draft: str) -> None:
        await self._ask(Drop(number=next(self._numbers), draft=draft))

    async def close(self) -> None:
        self._closed = True
        async with self._connecting:
            if self._channel is not None:
                self._channel.abort()
            if self._conversation is not None:
                await asyncio.gather(self._conversation, return_exceptions=True)

    async def _ask(self, request: BlockRequest, *, protects: bool = False) -> Found:
        channel = await self._connected()
        if protects and self._lost:
            raise SessionLost("the connection to the block store broke")
        if protects:
            self._protects = True
        question = self._questions[request.number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_PATIENCE):
                await channel.send(request)
                return await question
        except ChannelError as error:
            raise self._broken(str(error), protects) from error
        except TimeoutError as error:
            channel.abort()
            raise self._broken("the block store does not answer", protects) from error
        finally:
            del self._questions[request.number]

    def _broken(self, reason: str, protects: bool) -> StoreUnavailable:
        return SessionLost(reason) if protects else StoreUnavailable(reason)

    async def _connected(self) -> Channel[FromBlocks]:
        if self._closed:
            raise SessionLost("the session has been closed")
        async with self._connecting:
            if self._channel is None:
                try:
                    self._channel = await connect_blocks(self._address, self._cloud_id, self._wait)
                except (OSError, ChannelError, TimeoutError) as error:
                    raise StoreUnavailable(f"the block store can't be reached: {error}") from error
                self._conversation = asyncio.create_task(self._attend(self._channel))
            return self._channel

    async def _attend(self, channel: Channel[FromBlocks]) -> None:
        """Hands answers out until the connection ends."""
        reason = "the connection to the block store ended"
        try:
            await until_one_ends(self._listen(channel), channel.beat())
        except ChannelError as error:
            reason = str(error)
        finally:
            channel.abort()
            self._channel = None
            self._lost = self._lost or self._protects
            for question in self._questions.values():
                if not question.done():
                    question.set_exception(ChannelError(reason))
                    question.exception()  # whoever asked may have been cancelled

    async def _listen(self, channel: Channel[FromBlocks]) -> None:
        while True:
            answer = await channel.receive()
            if isinstance(answer, Heartbeat):
                continue
            question = self._questions.get(answer.number)
            if question is None or question.done():
                continue
            if isinstance(answer, Found):
                question.set_result(answer)
            else:
                question.set_exception(_error(answer))


def _error(failed: Failed) -> Exception:
    match failed.why:
        case "missing":
            return BlockMissing(failed.digest)
        case "damaged":
            return BlockDamaged(failed.digest)
        case "closed":
            return DraftClosed(failed.reason)
        case "unavailable":
            return StoreUnavailable(failed.reason)
        case "refused":
            return ValueError(failed.reason)
