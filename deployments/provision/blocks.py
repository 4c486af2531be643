"""Block types, and the blocks that the deployments name."""

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

# Every block of ours has this name: `earth-engine-connection/pixel-quarry`.
NAME = "pixel-quarry"
# And that of Prefect's results, if they have a place of their own: `gcs-bucket/pixel-quarry-results`.
RESULTS = f"{NAME}-results"
_TEXTS = ("description", "documentation_url", "logo_url", "code_example")


@dataclass(frozen=True)
class BlockType(Thing):
    """A class of blocks, which the forms of the server know once it is registered."""

    kind: type[Block]
    has_texts: bool = False
    """Whether its description and logo are ours. Those of a package that Prefect knows are set by the server itself."""

    @property
    def name(self) -> str:
        """Its slug."""
        return f"block type {self.kind.get_block_type_slug()}"

    @property
    def declared(self) -> Values:
        """Its schema, and what the forms say of it."""
        # Prefect tells a class's texts and checksum by private methods alone.
        kind = self.kind._to_block_type()  # noqa: SLF001
        return {"schema": _checksum(self.kind), **(_texts(kind) if self.has_texts else {})}

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Read type and schema."""
        try:
            kind = client.read_block_type_by_slug(self.kind.get_block_type_slug())
        except ObjectNotFound:
            return None
        schema = _schema(client, self.kind)
        return {"schema": schema and schema.checksum, **(_texts(kind) if self.has_texts else {})}

    def write(self, client: SyncPrefectClient) -> None:
        """Register it; Prefect does so with a client of its own."""
        del client
        self.kind.register_type_and_schema()


@dataclass(frozen=True)
class SavedBlock(Thing):
    """A block of ours."""

    kind: type[Block]
    values: Values
    """Its fields. Another block is named by its slug, a secret is a `pydantic.Secret`, None is left out."""
    own_name: str = NAME

    @property
    def slug(self) -> str:
        """As a deployment names it."""
        return f"{self.kind.get_block_type_slug()}/{self.own_name}"

    @property
    def name(self) -> str:
        """Its slug."""
        return f"block {self.slug}"

    @property
    def declared(self) -> Values:
        """Its fields, and the schema by which they are read."""
        return {"block schema": _checksum(self.kind), **_given(self.values)}

    def read(self, client: SyncPrefectClient) -> Values | None:
        """Read it with its secrets, which are compared and never shown."""
        document = _document(client, self.slug)
        if document is None:
            return None
        assert document.block_schema is not None
        return {"block schema": document.block_schema.checksum, **_fields(document)}

    def write(self, client: SyncPrefectClient) -> None:
        """Save it whole."""
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
    """The slug of a block in a field of another."""

    __slots__ = ()


def saved(client: SyncPrefectClient, kind: type[Block], name: str = NAME) -> Values | None:
    """Return the fields of the block of ours that is saved already; None = there is none."""
    document = _document(client, f"{kind.get_block_type_slug()}/{name}")
    return None if document is None else _fields(document)


def _fields(document: BlockDocument) -> Values:
    secrets = document.block_schema.fields.get("secret_fields", []) if document.block_schema else []
    secret = {field.partition(".")[0] for field in secrets}
    fields = {field: Secret(value) if field in secret else value for field, value in _given(document.data).items()}
    for field, reference in document.block_document_references.items():
        named = reference["block_document"]
        if named.get("name"):  # without one, it is part of this block
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
    """Return what the forms say of a type; the server keeps some of it escaped."""
    return {field: html.unescape(str(getattr(kind, field) or "")) for field in _TEXTS}
