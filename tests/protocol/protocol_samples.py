"""Makes values for botocore's shapes out of a seeded random source, within the limits that the model sets."""

import re
import re._constants as ops
import re._parser as sre
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random

from pileus.aws.protocol.patterns import compile_pattern

# Markup, form syntax, several bytes in UTF-8, beyond the basic plane; no control characters, which XML can't carry.
ALPHABET = "abcXYZ019 _-./:=+&<>\"'%#?;,()äß€漢𝛑"
HEADER_ALPHABET = "abcXYZ019_-./:=+&<>'%#?()"
MAX_DEPTH = 6
NOTHING = object()
"""In place of a value that can't be made, or that the protocol can't carry."""


class Samples:
    """Values for one protocol.

    ``sparse_forms``: the protocol has no way to write empty structures, lists and maps (ec2, query).
    """

    def __init__(self, random: Random, protocol: str, *, writes_empty_lists: bool = True) -> None:
        self.random = random
        self.has_empty = protocol not in ("ec2", "query", "rest-xml")
        self.has_empty_lists = writes_empty_lists and protocol != "ec2"
        self.is_json = protocol in ("json", "rest-json")

    def structure(self, shape, depth: int = 0, *, everything: bool = False):
        """A dictionary with the required members and some others; exactly one member of a union."""
        if getattr(shape, "is_document_type", False):
            return {"free": ["form", 1, None, {"x": True}]}
        names = list(shape.members)
        if getattr(shape, "is_tagged_union", False):
            names = [self.random.choice(names)]
        result = {}
        for name in names:
            likely = 1 if everything and depth < 2 else 0.5 if depth < 2 else 0.25 if depth < MAX_DEPTH else 0
            if name in shape.required_members or len(names) == 1 or self.random.random() < likely:
                self._put(result, shape, name, depth)
        if depth and not self.has_empty:
            while not result and names:
                self._put(result, shape, names.pop(), depth)
        return result if result or self.has_empty or depth == 0 else NOTHING

    def _put(self, result, shape, name: str, depth: int) -> None:
        member = shape.members[name]
        twins = [other for other in shape.members if _wire_name(shape, other) == _wire_name(shape, name)]
        if member.serialization.get("eventstream") or len(twins) > 1:
            return
        value = self.value(member, depth + 1)
        if value is not NOTHING:
            result[name] = value

    def value(self, shape, depth: int):
        """A value of any shape, or NOTHING."""
        if depth > MAX_DEPTH * 3:
            return NOTHING
        if shape.type_name == "structure":
            return self.structure(shape, depth)
        if shape.type_name == "list":
            return self.list(shape, depth)
        if shape.type_name == "map":
            return self.map(shape, depth)
        return self.scalar(shape)

    def list(self, shape, depth: int):
        least = shape.metadata.get("min", 0)
        in_header = shape.serialization.get("location") is not None
        flat_xml = shape.serialization.get("flattened") and not self.has_empty
        if not self.has_empty_lists or in_header or flat_xml:
            least = max(least, 1)
        most = min(shape.metadata.get("max", 3), max(least, 3))
        items = (self.value(shape.member, depth + 1) for _ in range(self.random.randint(least, most)))
        found = [item for item in items if item is not NOTHING]
        return found if len(found) >= least else NOTHING

    def map(self, shape, depth: int):
        least = max(shape.metadata.get("min", 0), 0 if self.has_empty else 1)
        if shape.serialization.get("location") == "headers":
            return {f"key-{number}": self.header_text() for number in range(self.random.randint(1, 2))}
        found = {}
        for _ in range(max(least, self.random.randint(0, 2))):
            key, value = self.scalar(shape.key), self.value(shape.value, depth + 1)
            if key is not NOTHING and value is not NOTHING:
                found[key] = value
        return found if len(found) >= least else NOTHING

    def scalar(self, shape):
        metadata = shape.metadata
        match shape.type_name:
            case "boolean":
                return self.random.random() < 0.5
            case "integer" | "long" if shape.serialization.get("location") == "statusCode":
                return self.random.randint(200, 299)
            case "integer" | "long":
                limit = 2**31 if shape.type_name == "integer" else 2**63
                low = max(int(metadata.get("min", -limit)), -limit)
                high = min(int(metadata.get("max", limit - 1)), limit - 1)
                return self.random.choice((low, high, self.random.randint(low, high)))
            case "float" | "double":
                return min(max(self.random.randint(-800, 800) / 8, metadata.get("min", -1e9)), metadata.get("max", 1e9))
            case "timestamp":
                return self.timestamp(shape)
            case "blob":
                least, most = metadata.get("min", 0), metadata.get("max", 64)
                return self.random.randbytes(self.random.randint(least, max(least, min(most, 32))))
            case _:
                return self.text(shape)

    def timestamp(self, shape) -> datetime:
        """To the millisecond where the format has fractions, since answers have no more."""
        whole = shape.serialization.get("location") == "header"
        whole = whole or shape.serialization.get("timestampFormat", "").lower() == "rfc822"
        milliseconds = 0 if whole else self.random.choice((0, self.random.randrange(1000)))
        seconds = self.random.randrange(0, 4_000_000_000)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, milliseconds=milliseconds)

    def text(self, shape):
        if shape.serialization.get("jsonvalue") and shape.serialization.get("location") == "header":
            return {"json": ["value"]}
        if getattr(shape, "enum", None):
            return self.random.choice(shape.enum)
        location = shape.serialization.get("location")
        if shape.serialization.get("hostLabel"):
            return "label"
        metadata = shape.metadata
        pattern = compile_pattern(metadata["pattern"]) if "pattern" in metadata else None
        least, most = metadata.get("min", 0), metadata.get("max", 10**9)
        if pattern is not None:
            return self.matching(pattern, least, most)
        least = max(least, 1 if location else 0)
        length = self.random.randint(least, max(least, min(most, 12)))
        alphabet = HEADER_ALPHABET if location == "header" else ALPHABET
        return "".join(self.random.choices(alphabet, k=length))

    def header_text(self) -> str:
        return "".join(self.random.choices(HEADER_ALPHABET, k=self.random.randint(1, 12)))

    def matching(self, pattern: re.Pattern[str], least: int, most: int):
        for attempt in range(40):
            repeat = self.random.randint(least, min(most, least + 10)) if attempt % 2 else 0
            text = self._from(_parsed(pattern.pattern), repeat)
            if least <= len(text) <= most and pattern.fullmatch(text):
                return text
        return NOTHING

    def _from(self, parts, repeat: int) -> str:
        return "".join(self._part(op, argument, repeat) for op, argument in parts)

    def _part(self, op, argument, repeat: int) -> str:
        if op is ops.LITERAL:
            return chr(argument)
        if op is ops.NOT_LITERAL:
            return "a" if argument != ord("a") else "b"
        if op is ops.ANY:
            return self.random.choice("ab9")
        if op is ops.IN:
            return self._one_of(argument)
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
            low, high, inner = argument
            wanted = max(low, min(high, repeat or self.random.randint(low, low + 2)))
            return "".join(self._from(inner, 0) for _ in range(wanted))
        if op is ops.SUBPATTERN:
            return self._from(argument[3], repeat)
        if op is ops.BRANCH:
            return self._from(self.random.choice(argument[1]), repeat)
        return ""  # anchors and assertions; the result is matched against the whole pattern anyway

    def _one_of(self, choices) -> str:
        if choices[0][0] is ops.NEGATE:
            forbidden = re.compile("[" + "".join(_class_text(choice) for choice in choices[1:]) + "]")
            return next(c for c in self.random.sample(HEADER_ALPHABET, len(HEADER_ALPHABET)) if not forbidden.match(c))
        op, argument = self.random.choice(choices)
        if op is ops.LITERAL:
            return chr(argument)
        if op is ops.RANGE:
            low, high = argument
            return chr(self.random.randint(low, min(high, low + 200))) if low >= 32 else "a"
        return {ops.CATEGORY_DIGIT: "7", ops.CATEGORY_SPACE: " ", ops.CATEGORY_WORD: "w"}.get(argument, "a")


def _wire_name(shape, name: str) -> str:
    """An old and a new member may share one name on the wire, so that neither comes back alone."""
    member = shape.members[name]
    if member.type_name == "list" and member.serialization.get("flattened"):
        name = member.member.serialization.get("name", name)
    return member.serialization.get("name", name) + str(member.serialization.get("location", ""))


def _class_text(choice) -> str:
    op, argument = choice
    if op is ops.LITERAL:
        return re.escape(chr(argument))
    if op is ops.RANGE:
        return f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}"
    return {ops.CATEGORY_DIGIT: r"\d", ops.CATEGORY_SPACE: r"\s", ops.CATEGORY_WORD: r"\w"}[argument]


@cache
def _parsed(pattern: str):
    return sre.parse(pattern)
