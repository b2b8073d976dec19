"""Lets other processes use the block store: a connection is a session. Used by the ``storage`` process."""

import asyncio
from typing import Never

from pileus.engines.blocks.interface import (
    BlockDamaged,
    BlockError,
    BlockMissing,
    Blocks,
    DraftClosed,
    DraftStore,
    Noted,
)
from pileus.hostapi.block_link import (
    BlockHello,
    BlockListener,
    BlockRequest,
    Drop,
    Failed,
    Found,
    Get,
    Missing,
    Note,
    Put,
    ReadNoted,
    ToBlocks,
)
from pileus.hostapi.channel import Address, Channel, ChannelError, Heartbeat, until_one_ends

_AT_ONCE = 16
"""Requests of one session that are being answered; further ones wait in the socket."""

_AT_ONCE_IN_ALL = 128
"""The same of all sessions: this bounds the memory that peers can take."""


class BlockServer:
    """Serves ``blocks`` at ``address``. See ``BlockListener`` for who may connect. Raises OSError from ``start``."""

    def __init__(
        self, address: Address, blocks: Blocks, *, cloud_id: str, allowed_uids: frozenset[int] | None = None
    ) -> None:
        self._blocks = blocks
        self._turns = asyncio.Semaphore(_AT_ONCE_IN_ALL)
        self._listener = BlockListener(address, self._converse, cloud_id=cloud_id, allowed_uids=allowed_uids)
        self.start = self._listener.start
        self.close = self._listener.close

    @property
    def port(self) -> int:
        """The TCP port that was bound, when the address asked for port 0."""
        return self._listener.port

    async def _converse(self, channel: Channel[ToBlocks], drafts: bool) -> None:
        session = self._blocks.session()
        try:
            await until_one_ends(_Conversation(channel, session, drafts, self._turns).run(), channel.beat())
        finally:
            await session.close()


class _Conversation:
    def __init__(self, channel: Channel[ToBlocks], session: DraftStore, drafts: bool, turns: asyncio.Semaphore) -> None:
        self._channel = channel
        self._session = session
        self._drafts = drafts
        self._turns = turns
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> Never:
        """Answers until the connection ends. Raises ChannelError."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    match await self._channel.receive():
                        case BlockHello():
                            raise ChannelError("a second hello")
                        case Heartbeat():
                            pass
                        case request:
                            await self._slots.acquire()
                            group.create_task(self._handle(request))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _handle(self, request: BlockRequest) -> None:
        try:
            async with self._turns:
                answer = await self._answer(request)
            await self._channel.send(answer)  # a peer that is slow to take it keeps nobody else waiting
        finally:
            self._slots.release()

    async def _answer(self, request: BlockRequest) -> Found | Failed:
        try:
            return await self._perform(request)
        except BlockMissing as error:
            return Failed(number=request.number, why="missing", digest=error.digest)
        except BlockDamaged as error:
            return Failed(number=request.number, why="damaged", digest=error.digest)
        except DraftClosed as error:
            return Failed(number=request.number, why="closed", reason=str(error))
        except BlockError as error:
            return Failed(number=request.number, why="unavailable", reason=str(error))
        except (ValueError, PermissionError) as error:
            return Failed(number=request.number, why="refused", reason=str(error))

    async def _perform(self, request: BlockRequest) -> Found:
        number = request.number
        match request:
            case Missing(digests=digests):
                return Found(number=number, digests=tuple(await self._session.missing(digests)))
            case Put(data=data):
                return Found(number=number, data=await self._session.put(data))
            case Get(digest=digest):
                return Found(number=number, data=await self._session.get(digest))
            case Note() | ReadNoted() | Drop() if not self._drafts:
                raise PermissionError("drafts are the control plane's")
            case Note(draft=draft, index=index, digest=digest, label=label):
                await self._session.note(draft, Noted(index, digest, label))
                return Found(number=number)
            case ReadNoted(draft=draft, after=after, limit=limit):
                found = await self._session.noted(draft, after, limit)
                return Found(number=number, entries=tuple((one.index, one.digest, one.tag) for one in found))
            case Drop(draft=draft):
                await self._session.drop(draft)
                return Found(number=number)
