"""Reads multipart/form-data (RFC 7578) from the wire: the fields before the file, then the file as a stream."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

from pileus.base.errors import ServiceError

MAX_FIELDS = 20 * 1024
"""Bytes of everything before the file's content (Amazon S3: "Maximum POST preceding the upload file")."""
_NAME = re.compile(r'(?:^|;)\s*name\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.IGNORECASE)
_FILE_NAME = re.compile(r'(?:^|;)\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^;\s]{1,200}))', re.IGNORECASE)

More = Callable[[], Awaitable[bytes | None]]
"""The next bytes of the body; None at its end."""


class MalformedPOSTRequest(ServiceError):
    """The body is no form."""

    code = "MalformedPOSTRequest"

    def __init__(self) -> None:
        super().__init__("The body of your POST request is not well-formed multipart/form-data.")


class MaxPostPreDataLengthExceeded(ServiceError):
    """The fields before the file are too long."""

    code = "MaxPostPreDataLengthExceeded"

    def __init__(self) -> None:
        super().__init__("Your POST request fields preceding the upload file were too large.")


class FormData:
    """One form. Await ``fields`` first, then read ``content``.

    Attributes:
        file_name: what the browser says of the file. file_type: its Content-Type. has_file: whether there is one.
    """

    def __init__(self, content_type: str, more: More) -> None:
        """Raises MalformedPOSTRequest."""
        match = _BOUNDARY.search(content_type)
        if match is None:
            raise MalformedPOSTRequest
        self._mark = b"\r\n--" + (match[1] or match[2]).encode("latin-1")
        self._more = more
        self._buffer = bytearray(b"\r\n")
        self.file_name = ""
        self.file_type = ""
        self.has_file = False

    async def fields(self) -> dict[str, str]:
        """The values of the fields before the file, by lower-case name.

        Raises MalformedPOSTRequest, MaxPostPreDataLengthExceeded.
        """
        found: dict[str, str] = {}
        size = 0
        await self._until(self._mark)
        while not await self._ends():
            head = (await self._until(b"\r\n\r\n")).decode(errors="replace")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head.split("\r\n") if line)
            }
            disposition = headers.get("content-disposition", "")
            name = _parameter(_NAME, disposition)
            if name is None:
                raise MalformedPOSTRequest
            if name.lower() == "file":
                self.has_file = True
                self.file_name = re.split(r"[\\/]", _parameter(_FILE_NAME, disposition) or "")[-1]
                self.file_type = headers.get("content-type", "")
                return found
            value = await self._until(self._mark)
            size += len(head) + len(value)
            if size > MAX_FIELDS:
                raise MaxPostPreDataLengthExceeded
            found[name.lower()] = value.decode(errors="replace")
        return found

    async def content(self) -> AsyncIterator[bytes]:
        """The file's bytes. Raises MalformedPOSTRequest when the form is cut off. What follows the file is ignored."""
        mark, buffer = self._mark, self._buffer
        while (end := buffer.find(mark)) < 0:
            keep = len(mark) - 1
            if len(buffer) > keep:
                piece = bytes(buffer[:-keep])
                del buffer[:-keep]
                yield piece
            await self._receive()
        if end:
            yield bytes(buffer[:end])
        buffer.clear()
        while await self._more() is not None:
            pass

    async def _receive(self) -> None:
        data = await self._more()
        if data is None:
            raise MalformedPOSTRequest
        self._buffer += data

    async def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > MAX_FIELDS:
                raise MaxPostPreDataLengthExceeded
            await self._receive()
        taken = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return taken

    async def _ends(self) -> bool:
        """After a mark: whether the form is over; else the line's end is taken."""
        while len(self._buffer) < 2:
            await self._receive()
        if self._buffer.startswith(b"--"):
            return True
        rest = await self._until(b"\r\n")
        if rest.strip():
            raise MalformedPOSTRequest
        self._buffer[:0] = b"\r\n"  # a part without headers begins with the empty line at once
        return False


def _parameter(expression: re.Pattern[str], text: str) -> str | None:
    match = expression.search(text)
    if match is None:
        return None
    return re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2].strip()
