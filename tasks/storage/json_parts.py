"""JSON that others may have written: how much memory it can take is known before it is parsed."""

from __future__ import annotations


def check_parts(data: bytes, most: int) -> None:
    """Check that JSON has at most so many arrays and objects. An empty one is 2 bytes of text, and 60 of memory.

    Args:
        data: The JSON.
        most: Largest number of arrays and objects.

    Raises:
        ValueError: It has more.
    """
    found = data.count(b"[") + data.count(b"{")
    if found > most:  # some may be in texts, as those of expressions
        bare = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
        found = bare.count(b"[") + bare.count(b"{")
    if found > most:
        raise ValueError(f"it has {found:,} arrays and objects, and {most:,} is the limit")
