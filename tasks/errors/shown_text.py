"""Show text from outside as it is: it must not act as markup, move other text, or hide.

Earth Engine and users choose ids, names, properties and error texts. They stay as they are in files and tables. Where
a person reads them, use `plain` (logs, messages, names of runs), or `markdown` (artifacts in the Prefect UI, the cells
of tables included).
"""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: controls (with ANSI escapes), formats (bidi, zero-width), surrogates, separators of lines."""
_MARKUP = re.compile(
    r"[&<>`*~\[\]|\\]|(?<=\S)@(?=\S)"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # within a word, it is no emphasis
    r"|(?<=http):(?=//)|(?<=https):(?=//)|(?<=ftp):(?=//)|(?<=www)\.(?=\S)"  # links by themselves
    r"|^\s*[#=]|^\s*[-+](?=[\s+-]|$)|(?<=^[0-9])[.)]",  # blocks
    re.IGNORECASE,
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
"""The entities that the Prefect UI turns into characters again. Its text shows any other as it is written."""
_IN_CODE = re.compile(r"[^`|\\<&]*")


def plain(text: object, *, lines: bool = False) -> str:
    r"""Return a text in which what cannot be seen is written as ``\x1b`` or ``\u202e``.

    Args:
        text: The text, or a value that is shown as one.
        lines: Whether line breaks and tabs stay, for a message that is made of lines.
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(
        each if unicodedata.category(each) not in _HIDDEN or (lines and each in "\n\t") else _escaped(each)
        for each in shown
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def markdown(text: object) -> str:
    """Return Markdown that shows a text literally, on one line: also in a table, and with HTML switched on."""
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0].strip(), f"\\{found[0].strip()}"), plain(text).strip())


def markdown_code(text: object) -> str:
    """Return Markdown that shows a text literally, in the type of code if it has no markup."""
    shown = plain(text)
    return f"`{shown}`" if shown.strip() and _IN_CODE.fullmatch(shown) else markdown(shown)
