"""Block types, and the saved blocks that the deployments use."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import BlockDocumentCreate, BlockDocumentUpdate
from prefect.client.schemas.objects import BlockDocument, BlockSchema
from prefect.exceptions import ObjectNotFound
from pydantic import Secret

from deployments.provision.difference import Thing, Values

# Name of the blocks, such as `earth-engine-connection/pixel-quarry`.
NAME = "pixel-quarry"
# Name of the block for Prefect's results, such as `gcs-bucket/pixel-quarry-results`.
RESULTS = f"{NAME}-results"
_TEXTS = ("description", "documentation_url", "logo_url", "code_example")


@dataclass(frozen=True)
class BlockType(Thing):
    """A block type. The server's forms can show its blocks once it is registered."""

    kind: type[Block]
    has_texts: bool = False
    """Whether its description and logo come from us. For types of Prefect's own packages, the server sets them."""

    @property
    def name(self) -> str:
        """``block type`` and its slug."""
        return f"block type {self.kind.get_block_type_slug()}"

    @property
    def declared(self) -> Values:
        """The checksum of its schema, and its texts in the forms."""
        # Prefect gives the texts and the checksum of a class only by private methods.
        kind = self.kind._to_block_type()  # noqa: SLF001 - Prefect has no public way to a type that is not registered
        return {"schema": _checksum(self.kind), **(_texts(kind) if self.has_texts else {})}

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Return the checksum and the texts on the server."""
        try:
            kind = client.read_block_type_by_slug(self.kind.get_block_type_slug())
        except ObjectNotFound:
            return None
        schema = _schema(client, self.kind)
        return {"schema": schema and schema.checksum, **(_texts(kind) if self.has_texts else {})}

    def write(self, client: SyncPrefectClient) -> None:
        """Register the type. Prefect uses a client of its own for it."""
        del client
        self.kind.register_type_and_schema()


@dataclass(frozen=True)
class SavedBlock(Thing):
    """A saved block that the deployments use."""

    kind: type[Block]
    values: Values
    """Its fields. A field with another block is a `Reference`, a secret is a `pydantic.Secret`, None is not saved."""
    own_name: str = NAME
    """Its name, the second part of the slug."""

    @property
    def slug(self) -> str:
        """Type and name, as deployments refer to the block."""
        return f"{self.kind.get_block_type_slug()}/{self.own_name}"

    @property
    def name(self) -> str:
        """``block`` and its slug."""
        return f"block {self.slug}"

    @property
    def declared(self) -> Values:
        """Its fields, and the checksum of its type's schema."""
        return {"block schema": _checksum(self.kind), **_given(self.values)}

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Return its fields on the server, including secrets: these are compared, but never shown."""
        document = _document(client, self.slug)
        if document is None:
            return None
        assert document.block_schema is not None
        return {"block schema": document.block_schema.checksum, **_fields(document)}

    def write(self, client: SyncPrefectClient) -> None:
        """Save all fields of the block."""
        schema = _schema(client, self.kind)
        assert schema is not None, f"{self.name}: its type was registered just before"
        data = {field: self._stored(client, value) for field, value in _given(self.values).items()}
        document = _document(client, self.slug)
        if document is None:
            type_id = schema.block_type_id
            new = BlockDocumentCreate(name=self.own_name, data=data, block_schema_id=schema.id, block_type_id=type_id)
            client.create_block_document(new)
        else:
            update = BlockDocumentUpdate(data=data, block_schema_id=schema.id, merge_existing_data=False)
            client.update_block_document(document.id, update)

    def _stored(self, client: SyncPrefectClient, value: Any) -> Any:
        if isinstance(value, Reference):
            named = _document(client, value)
            assert named is not None, f"{value} was saved just before"
            return {"$ref": {"block_document_id": str(named.id)}}
        return value.get_secret_value() if isinstance(value, Secret) else value


class Reference(str):
    """The slug of a block, as the value of another block's field."""

    __slots__ = ()


def saved(client: SyncPrefectClient, kind: type[Block], name: str = NAME) -> Values | None:
    """Return the fields of the saved block of a type; None = there is none."""
    document = _document(client, f"{kind.get_block_type_slug()}/{name}")
    return None if document is None else _fields(document)


def _fields(document: BlockDocument) -> Values:
    secrets = document.block_schema.fields.get("secret_fields", []) if document.block_schema else []
    secret = {field.partition(".")[0] for field in secrets}
    fields = {field: Secret(value) if field in secret else value for field, value in _given(document.data).items()}
    for field, reference in document.block_document_references.items():
        named = reference["block_document"]
        if named.get("name"):  # a block without a name is stored inside this one
            fields[field] = Reference(f"{named['block_type']['slug']}/{named['name']}")
    return fields


def _given(values: Values) -> dict[str, Any]:
    return {field: value for field, value in values.items() if value is not None}


def _document(client: SyncPrefectClient, slug: str) -> BlockDocument | None:
    kind, _, name = slug.partition("/")
    try:
        return client.read_block_document_by_name(name, kind)
    except ObjectNotFound:
        return None


def block_id(client: SyncPrefectClient, slug: str) -> Any:
    """Return the id of a saved block; None = there is none."""
    document = _document(client, slug)
    return document and document.id


def _schema(client: SyncPrefectClient, kind: type[Block]) -> BlockSchema | None:
    try:
        return client.read_block_schema_by_checksum(_checksum(kind), version=kind.get_block_schema_version())
    except ObjectNotFound:
        return None


def _checksum(kind: type[Block]) -> str:
    return str(kind._calculate_schema_checksum())  # noqa: SLF001 - as above


def _texts(kind: Any) -> Mapping[str, str]:
    """Return the texts of a type in the forms. The server stores some of them HTML-escaped."""
    return {field: html.unescape(str(getattr(kind, field) or "")) for field in _TEXTS}
