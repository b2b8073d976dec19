"""The AWS service models that botocore ships, read straight from its data files.

botocore itself is not imported: its session costs half a second and tens of megabytes. A model is kept as the compact JSON of
each shape (without documentation) and decoded shape by shape when ``pileus.aws.protocol`` compiles an operation.
"""

import gzip
from collections.abc import Iterator, KeysView
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, cast

import msgspec


class XmlNamespace(msgspec.Struct, frozen=True, omit_defaults=True):
    """An XML namespace that a shape declares on its element."""

    uri: str
    prefix: str = ""


class Traits(msgspec.Struct, rename="camel", omit_defaults=True):
    """How a value is bound to the wire. Given on a shape, or on a reference to it, which then wins."""

    location: str | None = None
    location_name: str | None = None
    query_name: str | None = None
    flattened: bool | None = None
    timestamp_format: str | None = None
    xml_namespace: XmlNamespace | str | None = None
    xml_attribute: bool | None = None
    streaming: bool | None = None
    jsonvalue: bool | None = None
    eventpayload: bool | None = None
    idempotency_token: bool | None = None


class Ref(Traits):
    """A reference to a shape: the type of a member, or the input or output of an operation."""

    shape: str = ""
    result_wrapper: str | None = None


class ErrorTrait(msgspec.Struct, rename="camel", omit_defaults=True):
    """What a modelled exception is on the wire of the query protocols."""

    code: str | None = None
    http_status_code: int | None = None
    sender_fault: bool | None = None


class Shape(Traits):
    """A type of the model. ``shape`` is its name; ``type`` one of botocore's type names."""

    type: str = "structure"
    shape: str = ""
    members: dict[str, Ref] = {}
    required: list[str] = []
    member: Ref | None = None
    key: Ref | None = None
    value: Ref | None = None
    enum: list[str] | None = None
    pattern: str | None = None
    min: int | float | None = None
    max: int | float | None = None
    payload: str | None = None
    exception: bool = False
    fault: bool = False
    error: ErrorTrait | None = None
    eventstream: bool = False
    document: bool = False
    sensitive: bool = False
    sparse: bool = False


class Http(msgspec.Struct, rename="camel", omit_defaults=True):
    """How an operation is addressed. ``request_uri`` is a template such as ``/{Bucket}/{Key+}?acl``."""

    method: str = "POST"
    request_uri: str = "/"
    response_code: int = 200


class OperationModel(msgspec.Struct, rename="camel", omit_defaults=True):
    """One operation of a service."""

    name: str
    http: Http = msgspec.field(default_factory=Http)
    input: Ref | None = None
    output: Ref | None = None
    errors: list[Ref] = []
    deprecated: bool = False


class Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    """What holds for a whole service."""

    api_version: str
    endpoint_prefix: str
    protocol: str
    protocols: list[str] = []
    json_version: str = "1.0"
    target_prefix: str = ""
    xml_namespace: str = ""
    signing_name: str = ""
    service_id: str = ""
    aws_query_compatible: dict[str, Any] | None = None


class _Document(msgspec.Struct):
    metadata: Metadata
    operations: dict[str, msgspec.Raw]
    shapes: dict[str, msgspec.Raw]


_OVERRIDABLE = Traits.__struct_fields__
_decode_shape = msgspec.json.Decoder(Shape).decode
_decode_operation = msgspec.json.Decoder(OperationModel).decode


class ServiceModel:
    """One service's model, decoded piece by piece.

    Attributes:
        name: botocore's name of the service, e.g. ``service-quotas``.
        metadata: what holds for the whole service.
    """

    def __init__(self, name: str, document: _Document) -> None:
        self.name = name
        self.metadata = document.metadata
        # Without documentation a model takes a quarter of the memory.
        encode = msgspec.json.encode
        # CloudFront's operations carry a version in their own name; clients know them by the key.
        named = ((key, _decode_operation(raw)) for key, raw in document.operations.items())
        self._operations = {key: encode(msgspec.structs.replace(operation, name=key)) for key, operation in named}
        self._shapes = {key: encode(_decode_shape(raw)) for key, raw in document.shapes.items()}

    @classmethod
    def from_file(cls, name: str, path: Path) -> Self:
        """Reads ``service-2.json.gz``, and the changes that botocore's authors made to it, where there are some."""
        document = msgspec.json.decode(gzip.decompress(path.read_bytes()), type=_Document)
        extras = path.with_name("service-2.sdk-extras.json")
        if extras.exists():
            merge = msgspec.json.decode(extras.read_bytes()).get("merge", {})
            for shape, changes in merge.get("shapes", {}).items():
                merged = _merge(msgspec.json.decode(document.shapes.get(shape, msgspec.Raw(b"{}"))), changes)
                document.shapes[shape] = msgspec.Raw(msgspec.json.encode(merged))
        return cls(name, document)

    @property
    def operation_names(self) -> KeysView[str]:
        """The operations' names, in the model's order."""
        return self._operations.keys()

    def operations(self) -> Iterator[OperationModel]:
        """All operations, decoded one after the other."""
        return map(_decode_operation, self._operations.values())

    def operation(self, name: str) -> OperationModel:
        """Raises ``KeyError`` when the service has no such operation."""
        return _decode_operation(self._operations[name])

    def shape(self, ref: Ref) -> Shape:
        """The type that ``ref`` names, with the reference's own traits put over the shape's."""
        shape = _decode_shape(self._shapes[ref.shape])
        shape.shape = ref.shape
        for trait in _OVERRIDABLE:
            value = getattr(ref, trait)
            if value is not None:
                setattr(shape, trait, value)
        return shape


def _merge(old: Any, new: Any) -> Any:
    """``new`` over ``old``, dictionary by dictionary."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    both = cast(dict[str, Any], old), cast(dict[str, Any], new)
    return both[0] | {key: _merge(both[0].get(key), value) for key, value in both[1].items()}


def _data_directory() -> Path:
    spec = find_spec("botocore")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("botocore, whose data files hold the AWS service models, is not installed")
    return Path(spec.submodule_search_locations[0]) / "data"


@cache
def load_model(name: str) -> ServiceModel:
    """The newest model of a service by botocore's name for it. Raises ``LookupError`` when botocore has none."""
    versions = sorted((_data_directory() / name).glob("*/service-2.json.gz"))
    if not versions:
        raise LookupError(f"botocore has no service model named {name!r}")
    return ServiceModel.from_file(name, versions[-1])
