"""Remove from messages what they must never show: credentials, and queries of URLs, which may hold credentials."""

from __future__ import annotations

import re

HIDDEN = "(not shown)"
_HIDDEN = "[hidden]"  # without a blank, so that a second redaction changes nothing
_CREDENTIALS = (
    (r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|\Z)", _HIDDEN),
    (r"(authorization[\\\"']*\s*[:=]\s*)[\\\"']*((bearer|basic|digest)\s+)?[^\s\"',;<>]+", rf"\1{_HIDDEN}"),
    (r"\bbearer\s+[\w.~+/=-]{16,}", _HIDDEN),
    # Access tokens, refresh tokens, API keys, client secrets and JWTs from Google begin like this.
    (r"\b(?-i:ya29\.|1//|AIza|GOCSPX-|eyJ)[\w.~+/=-]*", _HIDDEN),
    (
        r"\b((access|refresh|id)_token|client_secret|private_key|api_key|assertion)([\\\"']*\s*[:=]\s*)[\\\"']*[^\s\"',;&<>]+",
        rf"\1\3{_HIDDEN}",
    ),
)
_SECRETS = (
    *_CREDENTIALS,
    (r"([a-z][a-z0-9+.-]{0,20}://)[^\s/@?#\"'<>]*@", r"\1"),
    (r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", rf"\1?{_HIDDEN}"),
    (r"(?<=[^\s?])\?[^\s?=\"'<>]+=[^\s\"'<>]*", f"?{_HIDDEN}"),
)
_TOKEN = 20
"""Fewest characters of a credential in data."""
_HIDE = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), shown) for pattern, shown in _SECRETS)
_CREDENTIAL = re.compile("|".join(f"(?:{pattern})" for pattern, _ in _CREDENTIALS), re.IGNORECASE | re.DOTALL)


def holds_credential(text: str) -> bool:
    """Return whether a text holds what looks like a private key, a token or another credential."""
    return _CREDENTIAL.search(text) is not None


def is_token(text: str) -> bool:
    """Return whether a text holds a credential that is long enough to be one.

    For data, such as properties of features, in which short texts have other meanings: ``1//DP755113`` is a parcel.
    """
    return len(text) >= _TOKEN and any(len(found[0]) >= _TOKEN for found in _CREDENTIAL.finditer(text))


def redacted(text: str) -> str:
    """Return a text without anything that may be a credential, and without the queries of URLs."""
    for pattern, shown in _HIDE:
        text = pattern.sub(shown, text)
    return text
