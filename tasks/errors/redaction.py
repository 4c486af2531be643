"""What messages never show: credentials, and queries of URLs that may hold one."""

from __future__ import annotations

import re

HIDDEN = "(not shown)"
_HIDDEN = "[hidden]"  # without a blank, so that hiding twice is hiding once
_SECRETS = (
    (r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|\Z)", _HIDDEN),
    (r"(authorization[\\\"']*\s*[:=]\s*)[\\\"']*((bearer|basic|digest)\s+)?[^\s\"',;<>]+", rf"\1{_HIDDEN}"),
    (r"\bbearer\s+[\w.~+/=-]{16,}", _HIDDEN),
    # Access tokens, refresh tokens, API keys, client secrets and JWTs begin like this at Google.
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
    """Return a text without what may be a credential, or the query of a URL, which may hold one."""
    for pattern, shown in _HIDE:
        text = pattern.sub(shown, text)
    return text
