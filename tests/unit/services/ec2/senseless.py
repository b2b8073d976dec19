"""Values of the right types and of no sense, made from the model."""


def example(shape, scalars, depth=0):
    """A value of a shape in the model, made of the given scalars."""
    match shape.type_name:
        case "structure":
            if depth > 4:
                return {}
            return {name: example(member, scalars, depth + 1) for name, member in shape.members.items()}
        case "list":
            return [example(shape.member, scalars, depth + 1)]
        case other:
            return scalars[other]


JUNK = (
    {"string": "x", "integer": 7, "long": 7, "boolean": True, "blob": b"x", "timestamp": None, "double": 1.5},
    {"string": "", "integer": 0, "long": 0, "boolean": False, "blob": b"", "timestamp": None, "double": 0.0},
    {
        "string": "i-0123456789abcdef0",
        "integer": -1,
        "long": -1,
        "boolean": True,
        "blob": b"\xff\x00",
        "timestamp": None,
        "double": -1.0,
    },
)


def senseless(shape, scalars):
    """An example of a shape, and for a structure (or a list of them) one for each of its members alone:
    with those that are required, which the protocol has seen to before."""
    whole = example(shape, scalars)
    yield whole
    inner = shape.member if shape.type_name == "list" else shape
    if inner.type_name == "structure":
        for name, member in inner.members.items():
            needed = {name: example(inner.members[name], scalars) for name in inner.required_members}
            alone = {**needed, name: example(member, scalars)}
            yield [alone] if shape.type_name == "list" else alone
