"""Translates the models' patterns, which are Java's, to Python's."""

import re

# Unicode classes: exact for ASCII, and permissive beyond, where Python's re has no names for them.
_BEYOND_ASCII = "\\x80-\\U0010ffff"
_CLASSES = {
    "L": "A-Za-z" + _BEYOND_ASCII,
    "IsL": "A-Za-z" + _BEYOND_ASCII,
    "Alpha": "A-Za-z",
    "IsAlphabetic": "A-Za-z" + _BEYOND_ASCII,
    "Lu": "A-Z" + _BEYOND_ASCII,
    "Upper": "A-Z",
    "Ll": "a-z" + _BEYOND_ASCII,
    "Lower": "a-z",
    "N": "0-9" + _BEYOND_ASCII,
    "Nd": "0-9" + _BEYOND_ASCII,
    "Digit": "0-9",
    "Alnum": "A-Za-z0-9",
    "M": _BEYOND_ASCII,
    "Z": " " + _BEYOND_ASCII,
    "Zs": " " + _BEYOND_ASCII,
    "Space": " \\t\\n\\x0b\\f\\r",
    "P": "!-#%-*,-/:;?@\\[-\\]_{}" + _BEYOND_ASCII,
    "Punct": "!-/:-@\\[-`{-~",
    "S": "$+<=>^`|~" + _BEYOND_ASCII,
    "C": "\\x00-\\x1f\\x7f" + _BEYOND_ASCII,
    "Cc": "\\x00-\\x1f\\x7f-\\x9f",
    "Cntrl": "\\x00-\\x1f\\x7f",
    "Graph": "!-~",
    "Print": " -~",
    "ASCII": "\\x00-\\x7f",
}
_TOKEN = re.compile(r"\\p\{(\w+)\}|\\p([LNMZPSC])|\\x\{([0-9A-Fa-f]+)\}|\\.|\[|\]|&&|.", re.DOTALL)
_JAVA_ONLY = frozenset(f"\\{letter}" for letter in "hHRXzGPQE")
_ASTRAL = "\\uD800\\uDC00-\\uDBFF\\uDFFF"  # Java's way to write the range beyond the basic plane


class _Untranslatable(Exception):
    pass


def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """The pattern for ``fullmatch``, or None when it can't be said in Python: such a constraint is left to the service."""
    try:
        return re.compile(_translate(pattern.replace(_ASTRAL, "\\U00010000-\\U0010ffff")))
    except (re.error, _Untranslatable, OverflowError):
        return None


def _translate(pattern: str) -> str:
    parts: list[str] = []
    in_class = negated = False
    for match in _TOKEN.finditer(pattern):
        part = match[0]
        if name := match[1] or match[2]:
            part = _unicode_class(name, in_class=in_class, negated=negated)
        elif match[3]:
            part = f"\\U{int(match[3], 16):08x}"
        elif part in _JAVA_ONLY or (in_class and part in ("&&", "[")):  # sets of sets
            raise _Untranslatable(pattern)
        elif part == "[":
            in_class, negated = True, pattern[match.end() : match.end() + 1] == "^"
        elif part == "]":
            in_class = negated = False
        parts.append(part)
    return "".join(parts)


def _unicode_class(name: str, *, in_class: bool, negated: bool) -> str:
    members = _CLASSES.get(name)
    if members is None or negated:  # what is permissive in […] would forbid too much in [^…]
        raise _Untranslatable(name)
    return members if in_class else f"[{members}]"
