"""A fault that is meant: a rule for calls that go wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.cloud.refusal import Refusal

Kind = Literal["corrupt", "corrupt_download", "cut_download", "drop_after_store"]


@dataclass(kw_only=True)
class Fault:
    """What happens to some calls.

    Either they are refused with a status, or it is done to them what a kind says: ``corrupt`` flips a byte of what is
    uploaded and lets no checksum find it, ``corrupt_download`` flips one of what is downloaded below the right
    checksum, ``cut_download`` sends the first half of it, ``drop_after_store`` does what is asked, and answers 503
    instead of telling so.
    """

    match: str
    """Regular expression, searched in the method and the decoded path, such as ``POST /upload/storage/v1/b/b/o``."""

    status: int | None = None
    kind: Kind | None = None
    times: int | None = None
    """How many calls it is for; None = all."""

    after: int = 0
    """How many calls that match are spared before."""

    reason: str | None = None
    message: str | None = None
    retry_after: int | None = None
    """Seconds that the answer asks to wait."""

    seen: int = field(default=0, init=False)
    """How many calls have matched."""

    def __post_init__(self) -> None:
        if (self.status is None) == (self.kind is None) or self.kind not in {None, *get_args(Kind)}:
            raise ValueError(f"A fault has a status or one of the kinds {', '.join(get_args(Kind))}: {self}")

    def is_due(self, call: str) -> bool:
        """Count a call if it matches, and tell whether it goes wrong."""
        if re.search(self.match, call) is None:
            return False
        self.seen += 1
        return self.seen > self.after and (self.times is None or self.seen <= self.after + self.times)

    def refusal(self) -> Refusal:
        """Return the error that the call is answered with."""
        return Refusal(self.status or 503, self.message, self.reason, retry_after=self.retry_after)
