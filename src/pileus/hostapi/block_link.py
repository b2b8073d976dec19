"""The messages between the block store and those who use it from other processes, and the listening for them.

A connection is a session with the store (``engines.blocks.interface``). Requests carry numbers and are answered in any
order. Framing, heartbeats and silence are those of ``channel``. Used by ``engines.blocks.client`` and ``.server``.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import msgspec

from pileus.hostapi.channel import Address, Channel, ChannelError, Heartbeat, UnixAddress, bind, open_channel
from pileus.hostapi.spec import Spec

log = logging.getLogger(__name__)

BLOCK_PROTOCOL = 1
DIGESTS_AT_ONCE = 4096
NOTED_AT_ONCE = 4096
FRAME_LIMIT = (9 << 20) + 1024
"""A stored block at its longest, with its envelope."""

_HELLO_LIMIT = 4096
_HELLO_WITHIN = 10.0

DigestBytes = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
DraftName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
BlockIndex = Annotated[int, msgspec.Meta(ge=0, lt=1 << 40)]


class BlockHello(Spec, frozen=True, kw_only=True, tag="blocks"):
    """What a user of the store says first; the answer is ``Done`` with number 0."""

    cloud_id: str
    protocol: int = BLOCK_PROTOCOL


class Missing(Spec, frozen=True, kw_only=True, tag="missing"):
    """Which of these are not stored? Answered with ``Found.digests``."""

    number: int
    digests: Annotated[list[DigestBytes], msgspec.Meta(max_length=DIGESTS_AT_ONCE)]


class Put(Spec, frozen=True, kw_only=True, tag="put"):
    """Store this. Answered with ``Found.data``, its digest."""

    number: int
    data: bytes


class Get(Spec, frozen=True, kw_only=True, tag="get"):
    """Read this. Answered with ``Found.data``."""

    number: int
    digest: DigestBytes


class Note(Spec, frozen=True, kw_only=True, tag="note"):
    """Write an entry of a draft; an empty digest is a hole."""

    number: int
    draft: DraftName
    index: BlockIndex
    digest: Annotated[bytes, msgspec.Meta(max_length=32)]
    label: Annotated[bytes, msgspec.Meta(max_length=128)]


class ReadNoted(Spec, frozen=True, kw_only=True, tag="noted"):
    """Read entries of a draft. Answered with ``Found.entries``."""

    number: int
    draft: DraftName
    after: int
    limit: Annotated[int, msgspec.Meta(ge=1, le=NOTED_AT_ONCE)]


class Drop(Spec, frozen=True, kw_only=True, tag="drop"):
    """Forget a draft."""

    number: int
    draft: DraftName


class Found(Spec, frozen=True, kw_only=True, tag="found"):
    """The answer to the request of that number. ``entries`` are (index, digest, label)."""

    number: int
    data: bytes = b""
    digests: tuple[bytes, ...] = ()
    entries: tuple[tuple[int, bytes, bytes], ...] = ()


class Failed(Spec, frozen=True, kw_only=True, tag="failed"):
    """The request of that number failed; ``digest`` is the block's that is missing or damaged."""

    number: int
    why: Literal["missing", "damaged", "closed", "unavailable", "refused"]
    digest: bytes = b""
    reason: str = ""


BlockRequest = Missing | Put | Get | Note | ReadNoted | Drop
ToBlocks = BlockHello | BlockRequest | Heartbeat
FromBlocks = Found | Failed | Heartbeat
TO_BLOCKS: msgspec.msgpack.Decoder[ToBlocks] = msgspec.msgpack.Decoder(ToBlocks)
FROM_BLOCKS: msgspec.msgpack.Decoder[FromBlocks] = msgspec.msgpack.Decoder(FromBlocks)


async def connect_blocks(address: Address, cloud_id: str, wait: float = 10.0) -> Channel[FromBlocks]:
    """A session's connection, greeted. ``wait`` is in seconds. Raises OSError, ChannelError, TimeoutError."""
    async with asyncio.timeout(wait):
        channel = await open_channel(address, FROM_BLOCKS, FRAME_LIMIT)
        try:
            await channel.send(BlockHello(cloud_id=cloud_id))
            answer = await channel.receive()
        except BaseException:
            channel.abort()
            raise
    if isinstance(answer, Failed):
        channel.abort()
        raise ChannelError(f"the block store refuses: {answer.reason}")
    return channel


Converse = Callable[[Channel[ToBlocks], bool], Awaitable[None]]
"""Holds one conversation; the second argument says whether drafts may be spoken of."""


class BlockListener:
    """Listens for sessions. What comes in is untrusted: it is bounded and validated before ``converse`` sees it.

    On a unix socket, ``allowed_uids`` may connect (by default this process's), and only this process's own user may write
    drafts; over TLS every certificate that the address's context accepts, without drafts.
    """

    def __init__(
        self,
        address: Address,
        converse: Converse,
        *,
        cloud_id: str,
        allowed_uids: frozenset[int] | None = None,
        sessions: int = 512,
    ) -> None:
        if not isinstance(address, UnixAddress) and address.context.verify_mode != ssl.CERT_REQUIRED:
            raise ValueError("the block store must demand certificates")
        self._address = address
        self._hold = converse
        self._cloud_id = cloud_id
        self._allowed_uids = frozenset({os.getuid()}) if allowed_uids is None else allowed_uids
        self._most = sessions
        self._conversations: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port that was bound, when the address asked for port 0."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Begins to listen. Raises OSError when the address can't be had."""
        if isinstance(self._address, UnixAddress):
            self._server = await asyncio.start_unix_server(self._converse, sock=bind(self._address), limit=1 << 20)
        else:
            self._server = await asyncio.start_server(
                self._converse, self._address.host, self._address.port, ssl=self._address.context, limit=1 << 20
            )

    async def close(self) -> None:
        """Ends all sessions and stops listening."""
        if self._server is not None:
            self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        if isinstance(self._address, UnixAddress):
            self._address.path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation is not None
        self._conversations.add(conversation)
        channel = Channel(reader, writer, TO_BLOCKS, FRAME_LIMIT)
        try:
            if len(self._conversations) <= self._most and await self._greet(channel):
                await self._hold(channel, self._may_draft(channel))
        except ChannelError as error:
            log.info("block session ended", extra={"reason": str(error)})
        except asyncio.CancelledError:
            pass  # the listener closes; asyncio would log a cancelled connection as an error
        except Exception:
            log.exception("a block session failed")
        finally:
            channel.abort()
            self._conversations.discard(conversation)

    def _may_draft(self, channel: Channel[ToBlocks]) -> bool:
        return isinstance(self._address, UnixAddress) and channel.peer_uid() == os.getuid()

    async def _greet(self, channel: Channel[ToBlocks]) -> bool:
        if isinstance(self._address, UnixAddress) and channel.peer_uid() not in self._allowed_uids:
            log.warning("block session refused", extra={"uid": channel.peer_uid()})
            return False
        hello = await channel.receive(limit=_HELLO_LIMIT, silence=_HELLO_WITHIN)
        if not isinstance(hello, BlockHello) or hello.protocol != BLOCK_PROTOCOL or hello.cloud_id != self._cloud_id:
            reason = f"this is the block store of cloud {self._cloud_id}, protocol {BLOCK_PROTOCOL}"
            await channel.send(Failed(number=0, why="refused", reason=reason))
            return False
        await channel.send(Found(number=0))
        return True
