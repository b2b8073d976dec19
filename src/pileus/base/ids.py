"""Resource ids in AWS's long form: a prefix and 17 hexadecimal digits."""

import secrets


def new_id(prefix: str) -> str:
    """A fresh id such as ``i-0a1b2c3d4e5f67890`` (prefix given without the dash)."""
    return f"{prefix}-0{secrets.token_hex(8)}"


def new_request_id() -> str:
    """A request id in the form AWS uses: a random UUID (version 4)."""
    raw = secrets.token_hex(16)
    return f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-{'89ab'[int(raw[16], 16) % 4]}{raw[17:20]}-{raw[20:]}"
