"""Slugs of saved blocks, from forms and command lines.

Prefect is imported only when a block is given: a run without saved blocks starts faster.
"""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

from tasks.storage.address import BUCKET, FOLDER

CONNECTION = "earth-engine-connection"
"""Slug of the block type of an Earth Engine connection."""


def slug_of(value: Any) -> Any:
    """Return the slug `type/name` of a saved block; return any other value unchanged.

    A parameter holds only the slug, so the secrets of the block stay on the Prefect server and in the process that
    needs them.

    Args:
        value: A block, a reference to a block as forms send it (`{"$ref": ...}`), or any other value.

    Raises:
        ValueError: The block is not saved, does not exist, or is of a type that no parameter accepts.
    """
    blocks = sys.modules.get("prefect.blocks.core")  # if the module is not imported, no value can be a block
    if blocks is not None and isinstance(value, blocks.Block):
        slug, name = value.get_block_type_slug(), value._block_document_name  # noqa: SLF001 - no other way to its name
        if name is None:
            raise ValueError(f"the block is not saved. Save it (`block.save('name')`), or give '{slug}/name'")
        return f"{slug}/{name}"
    if isinstance(value, dict) and "$ref" in value:
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        reference = value["$ref"]
        number = reference.get("block_document_id") if isinstance(reference, dict) else reference
        with get_client(sync_client=True) as client:
            try:
                document = client.read_block_document(UUID(str(number)))
            except ObjectNotFound:
                raise ValueError(f"there is no block {number} on the Prefect server") from None
        slug = document.block_type.slug if document.block_type else ""
        if slug not in {BUCKET, FOLDER, CONNECTION}:  # a slug of another type would be read as a folder
            raise ValueError(f"a block of type {slug} cannot be used here")
        return f"{slug}/{document.name}"
    return value
