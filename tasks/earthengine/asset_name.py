"""Names of assets: only a plain name becomes part of the address of a request."""

from __future__ import annotations

import re
from urllib.parse import quote

from tasks.errors.input import BadInputError

LONGEST = 1_000
"""Characters of a name. The service has its own, lower limit."""
# Letters, digits, `_`, `-` and `.` in each part. The id of a project in a domain has a colon: `google.com:my-project`.
_NAME = re.compile(r"projects/([a-z0-9.-]+:)?[\w-]+/assets/(?!\.{1,2}(/|$))[\w.-]*(/(?!\.{1,2}(/|$))[\w.-]+)*")


def asset_path(name: str) -> str:
    """Return the full name of an asset as it stands in the path of a request.

    A name is refused if it could make another request of it: a parent folder (`..`), another method (`:`), a query
    (`?`), a fragment (`#`), an escape (`%`), a blank or a control character.

    Args:
        name: Full name, such as ``projects/my-project/assets/scene``.

    Raises:
        BadInputError: It is not the name of an asset.
    """
    if len(name) > LONGEST or not _NAME.fullmatch(name):
        raise BadInputError(
            "image",
            name,
            "not the name of an asset (parts of letters, digits, '_', '-' and '.', separated by '/')",
            "Give an id such as 'USGS/SRTMGL1_003' or 'projects/my-project/assets/scene'",
        )
    return quote(name, safe="/:")
