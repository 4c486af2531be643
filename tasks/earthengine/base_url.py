"""Whether a URL can be the endpoint of a connection, and whose it is."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit


def is_loopback(url: str) -> bool:
    """Return whether a URL is on this machine."""
    host = _host(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_googles(url: str) -> bool:
    """Return whether a URL is on this machine or is a Google API. Other URLs need the operator's consent."""
    return is_loopback(url) or _host(url).endswith(".googleapis.com")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_base_url(text: str) -> bool:
    """Return whether a text is a plain URL of a host: http or https, without user, password, path and query."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    plain = re.fullmatch(r"(?i)https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d+)?/?", text)
    return bool(plain and parts.hostname and port != 0)
