"""Remove from messages what they must never show: credentials, and queries of URLs, which may hold credentials."""

from __future__ import annotations

import re

HIDDEN = "(not shown)"
_HIDDEN = "[hidden]"  # without a blank, so that a second redaction changes nothing
_SECRETS = (
    (r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|\Z)", _HIDDEN),
    (r"(authorization[\\\"']*\s*[:=]\s*)[\\\"']*((bearer|basic|digest)\s+)?[^\s\"',;<>]+", rf"\1{_HIDDEN}"),
    (r"\bbearer\s+[\w.~+/=-]{16,}", _HIDDEN),
    # Access tokens, refresh tokens, API keys, client secrets and JWTs from Google begin like this.
    (r"\b(ya29\.|1//|AIza|GOCSPX-|eyJ)[\w.~+/=-]*", _HIDDEN),
    (
        r"\b((access|refresh|id)_token|client_secret|private_key|api_key|assertion)([\\\"']*\s*[:=]\s*)[\\\"']*[^\s\"',;&<>]+",
        rf"\1\3{_HIDDEN}",
    ),
    (r"(https?://)[^\s/@?#\"'<>]*@", r"\1"),
    (r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", rf"\1?{_HIDDEN}"),
    (r"(?<=[^\s?])\?[^\s?=\"'<>]+=[^\s\"'<>]*", f"?{_HIDDEN}"),
)
_HIDE = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), shown) for pattern, shown in _SECRETS)


def redacted(text: str) -> str:
    """Return a text without anything that may be a credential, and without the queries of URLs."""
    for pattern, shown in _HIDE:
        text = pattern.sub(shown, text)
    return text
