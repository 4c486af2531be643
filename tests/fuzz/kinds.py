"""All kinds of fuzzed inputs. Each module of this folder that makes some has them in its `KINDS`."""

from __future__ import annotations

from tests.fuzz import answers, outputs, user_files
from tests.fuzz.fuzzed import Fuzzed

KINDS: dict[str, Fuzzed] = {**answers.KINDS, **outputs.KINDS, **user_files.KINDS}
