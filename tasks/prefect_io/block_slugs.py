"""Slugs of saved blocks, as forms and command lines give them. A run that has none waits for none of Prefect here."""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

from tasks.storage.address import BUCKET, FOLDER

CONNECTION = "earth-engine-connection"
"""Slug of the block type of a connection."""


def slug_of(value: Any) -> Any:
    """Return the slug of a saved block, or of a reference to one as forms send it; anything else as it is.

    By its slug, its secrets never leave the Prefect server but for the process that needs them.

    Raises:
        ValueError: the block is not saved, or not there.
    """
    blocks = sys.modules.get("prefect.blocks.core")  # where nobody has imported it, nothing is a block
    if blocks is not None and isinstance(value, blocks.Block):
        slug, name = value.get_block_type_slug(), value._block_document_name  # noqa: SLF001 - no other way to its name
        if name is None:
            raise ValueError(f"a block that is not saved: save it (`block.save('name')`), or give '{slug}/name'")
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
                raise ValueError(f"there is no block {number}") from None
        slug = document.block_type.slug if document.block_type else ""
        if slug not in {BUCKET, FOLDER, CONNECTION}:  # as text, it would be the name of a folder
            raise ValueError(f"a block of type {slug}, which can't be taken here")
        return f"{slug}/{document.name}"
    return value
