import pytest

from pileus.aws.protocol.patterns import compile_pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*", ["", "a b", "ä漢", "x-1@y"], ["a*b", "tab\t"]),
        (r"\p{L}+", ["abc", "é"], ["a1", ""]),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", ["a😀\n"], ["\x00"]),
        (r"[\p{Alnum}\x{2d}]+", ["a-1"], ["_"]),
        (r"^[a-z]+$", ["abc"], ["abc\n", "ABC"]),
        (r"\P", [], []),
        (r"[a-z&&[^b]]+", [], []),
        (r"[^\p{L}]+", [], []),
    ],
)
def test_patterns(pattern, matching, other):
    compiled = compile_pattern(pattern)
    if not (matching or other):
        assert compiled is None
        return
    assert compiled is not None
    assert [text for text in matching + other if compiled.fullmatch(text)] == matching
