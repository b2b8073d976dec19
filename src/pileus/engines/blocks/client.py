"""The block store as other processes see it: ``BlockClient`` speaks to a ``BlockServer``. Used by hosts and the API."""

import asyncio
import itertools
from collections.abc import Sequence

from pileus.engines.blocks.interface import (
    STORED_LIMIT,
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
        self._connection: _Connection | None = None
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
        if len(data) > STORED_LIMIT:
            raise ValueError(f"a block of {len(data)} bytes is too long")
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
            if self._connection is not None:
                await self._connection.close()

    async def _ask(self, request: BlockRequest, *, protects: bool = False) -> Found:
        connection = await self._connected()
        if protects and self._lost:
            raise SessionLost("the connection to the block store broke")
        connection.protects = connection.protects or protects
        try:
            return await connection.ask(request)
        except ChannelError as error:
            raise (SessionLost if protects else StoreUnavailable)(str(error)) from error

    async def _connected(self) -> "_Connection":
        if self._closed:
            raise SessionLost("the session has been closed")
        async with self._connecting:
            if self._connection is not None and self._connection.over:
                self._lost = self._lost or self._connection.protects
                await self._connection.close()
                self._connection = None
            if self._connection is None:
                try:
                    channel = await connect_blocks(self._address, self._cloud_id, self._wait)
                except (OSError, ChannelError, TimeoutError) as error:
                    raise StoreUnavailable(f"the block store can't be reached: {error}") from error
                self._connection = _Connection(channel)
            return self._connection


class _Connection:
    """One connection, with the questions that were asked over it. ``protects``: something was put or asked for."""

    def __init__(self, channel: Channel[FromBlocks]) -> None:
        self.protects = False
        self.over = False
        self._channel = channel
        self._questions: dict[int, asyncio.Future[Found]] = {}
        self._conversation = asyncio.create_task(self._attend())

    async def ask(self, request: BlockRequest) -> Found:
        """The answer. Raises ChannelError when the connection is over, and what the answer says."""
        if self.over:
            raise ChannelError("the connection to the block store ended")
        question = self._questions[request.number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._channel.send(request)
                return await question
        except ChannelError as error:
            self._end(str(error))
            raise
        except TimeoutError as error:
            self._end("the block store does not answer")
            raise ChannelError("the block store does not answer") from error
        finally:
            del self._questions[request.number]

    async def close(self) -> None:
        """Ends the connection."""
        self._end("the session was closed")
        self._conversation.cancel()
        await asyncio.gather(self._conversation, return_exceptions=True)

    async def _attend(self) -> None:
        """Hands answers out until the connection ends."""
        reason = "the connection to the block store ended"
        try:
            await until_one_ends(self._listen(), self._channel.beat())
        except ChannelError as error:
            reason = str(error)
        finally:
            self._end(reason)

    def _end(self, reason: str) -> None:
        self.over = True
        self._channel.abort()
        for question in self._questions.values():
            if not question.done():
                question.set_exception(ChannelError(reason))
                question.exception()  # whoever asked may have been cancelled

    async def _listen(self) -> None:
        while True:
            answer = await self._channel.receive()
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
