"""Access tokens: a stand-in for Google's OAuth endpoint, and accounts that ask it for one."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.cloud.refusal import Refusal

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# google.auth writes this one into every assertion, whatever endpoint it sends it to.
_AUDIENCE = "https://oauth2.googleapis.com/token"
_LIFE_S = 3600


class Ungranted(Exception):
    """No token is given, for a cause that OAuth has a name for."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(description)
        self.name = name


class Tokens:
    """The tokens that have been given, and are valid until they are made to expire."""

    def __init__(self) -> None:
        self._valid: set[str] = set()

    def grant(self, form: bytes, *, refuse: bool = False) -> dict[str, Any]:
        """Return the answer to a service account's request. Its signature is taken on trust.

        Args:
            form: What it sends.
            refuse: As if there were no such account.

        Raises:
            Ungranted: it is refused.
        """
        if refuse:
            raise Ungranted("invalid_grant", "Invalid grant: account not found")
        asked = {name: values[0] for name, values in parse_qs(form.decode()).items()}
        if asked.get("grant_type") != _GRANT:
            raise Ungranted("unsupported_grant_type", f"Invalid grant_type: {asked.get('grant_type')}")
        claims = _claims(asked.get("assertion", ""))
        if not claims.get("scope"):
            raise Ungranted("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        token = "ya29." + secrets.token_urlsafe(32)
        self._valid.add(token)
        return {"access_token": token, "expires_in": _LIFE_S, "token_type": "Bearer"}

    def expire(self) -> None:
        """Make every token invalid that was given so far, though its holder thinks otherwise."""
        self._valid.clear()

    def check(self, header: str) -> None:
        """See that a header ``Authorization`` has a valid token.

        Raises:
            Refusal: 401, it has none.
        """
        if header.removeprefix("Bearer ") not in self._valid:
            raise Refusal(401)


def _claims(assertion: str) -> dict[str, Any]:
    try:
        _, payload, _ = assertion.split(".")
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error):
        raise Ungranted("invalid_grant", "Bad Request") from None
    if claims.get("aud") != _AUDIENCE:
        raise Ungranted("invalid_grant", f"Invalid JWT: audience {claims.get('aud')}")
    if not claims.get("iat", 0) - 60 <= time.time() <= claims.get("exp", 0):
        raise Ungranted("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)")
    return claims


def service_account_info(token_uri: str) -> dict[str, str]:
    """Return what the key file of a new service account would hold, which gets its tokens at a URI."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": secrets.token_hex(20),
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "client_email": "writer@p.iam.gserviceaccount.com",
        "client_id": "100000000000000000000",
        "token_uri": token_uri,
    }
