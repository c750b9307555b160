"""Signing in with an OpenID provider: the code flow of OpenID Connect Core 1.0, 3.1, with PKCE (RFC 7636).

What it begins with is one secret in a cookie of the browser; state, nonce and verifier are hashes of it. So an answer
that was meant for another browser fits neither the state nor, at the provider, the code.
"""

import hashlib
import hmac
import json
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode, urlsplit

import httpx2

from evaluator.service.errors import Refused
from evaluator.service.settings import LOOPBACK, OpenIdProvider

if TYPE_CHECKING:
    from joserfc.jwk import KeySetSerialization

BEGUN_SECONDS = 600
TIMEOUT_SECONDS = 10.0
LEEWAY_SECONDS = 60
MOST_BYTES = 1 << 20  # of an answer of the provider
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")  # never "none", nor one with a shared secret
DESCRIPTION = "/.well-known/openid-configuration"
LONGEST_SUBJECT = 255
DESCRIBED_SECONDS, FAILED_SECONDS = 600.0, 10.0  # for which a description holds, or that there was none


@dataclass(frozen=True)
class Person:
    """Who somebody is to the provider; email: an address that it has verified."""

    subject: str
    name: str
    email: str

    @property
    def domain(self) -> str:
        """Of the e-mail address."""
        return self.email.rpartition("@")[2].casefold()


@dataclass(frozen=True)
class Begun:
    """A sign-in under way in one browser; purpose: what it is for, which comes back with it."""

    secret: str
    purpose: str

    @classmethod
    def new(cls, purpose: str) -> "Begun":
        """Begin one."""
        return cls(secrets.token_urlsafe(32), purpose)

    @classmethod
    def of_cookie(cls, cookie: str) -> "Begun":
        """The inverse of `cookie`."""
        secret, _, purpose = cookie.partition(".")
        return cls(secret, purpose)

    @property
    def cookie(self) -> str:
        """What the browser keeps of it."""
        return f"{self.secret}.{self.purpose}"

    def derived(self, what: str) -> str:
        """The "state", "nonce" or "verifier": 43 characters, from which the secret cannot be had."""
        return _encoded(hashlib.sha256(f"{what} {self.secret}".encode()).digest())


def _encoded(digest: bytes) -> str:
    return urlsafe_b64encode(digest).decode().rstrip("=")


class Descriptions:
    """What a provider says of itself: asked for by one thread at a time, and once for all who begin in a while."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._found: dict[str, Any] | Refused = {}
        self._until = 0.0

    def of(self, provider: OpenIdProvider, now: float) -> dict[str, Any]:
        """The description as it was a while ago at most; Refused with 502 if the provider cannot be reached."""
        with self._asking:
            if now >= self._until:
                try:
                    self._found, self._until = _description(provider), now + DESCRIBED_SECONDS
                except Refused as error:
                    self._found, self._until = error, now + FAILED_SECONDS
            found = self._found
        if isinstance(found, Refused):
            raise Refused(found.sentence, found.status)
        return found

    def forget(self) -> None:
        """Have it be asked for again: what it says may hold no more."""
        with self._asking:
            self._until = 0.0


def address(provider: OpenIdProvider, described: Mapping[str, Any], begun: Begun, callback: str) -> str:
    """Where the browser goes, by what the provider says of itself."""
    asked = {
        "response_type": "code",
        "client_id": provider.client,
        "redirect_uri": callback,
        "scope": "openid email profile",
        "state": begun.derived("state"),
        "nonce": begun.derived("nonce"),
        "code_challenge": _encoded(hashlib.sha256(begun.derived("verifier").encode()).digest()),
        "code_challenge_method": "S256",
    }
    where = described["authorization_endpoint"]
    return f"{where}{'&' if '?' in where else '?'}{urlencode(asked)}"


def person(
    provider: OpenIdProvider,
    descriptions: Descriptions,
    begun: Begun,
    answer: Mapping[str, str],
    callback: str,
    now: float,
) -> Person:
    """Who has signed in, by the provider's answer; Refused for anything that does not fit."""
    if not begun.secret or not hmac.compare_digest(
        answer.get("state", "").encode(), begun.derived("state").encode()
    ):
        raise Refused("This sign-in was not begun in this browser, or too long ago; begin again.", 403)
    if answer.get("iss", provider.issuer) != provider.issuer:  # RFC 9207
        raise Refused("This answer is another provider's.", 403)
    if "code" not in answer:
        raise Refused(f"{provider.name} did not sign you in.", 403)
    described = descriptions.of(provider, now)
    try:
        with httpx2.Client(timeout=TIMEOUT_SECONDS) as http:
            token = _token(http, provider, described, begun, answer["code"], callback)
            keys = _json(http, provider, "GET", described["jwks_uri"])
    except Refused:
        descriptions.forget()
        raise
    return _person(_claims(provider, token, keys, begun.derived("nonce"), now))


def _description(provider: OpenIdProvider) -> dict[str, Any]:
    """What the provider says of itself; its addresses are as safe as its own is."""
    with httpx2.Client(timeout=TIMEOUT_SECONDS) as http:
        found = _json(http, provider, "GET", f"{provider.issuer.rstrip('/')}{DESCRIPTION}")
    addresses = [found.get(key) for key in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
    if found.get("issuer") != provider.issuer or not all(map(is_safe, addresses)):
        raise Refused(f"{provider.name} does not describe itself as the provider that is configured.", 502)
    return found


def is_safe(url: object) -> bool:
    """Whether an address has TLS, or is this machine's."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _token(
    http: httpx2.Client,
    provider: OpenIdProvider,
    described: Mapping[str, Any],
    begun: Begun,
    code: str,
    callback: str,
) -> str:
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": callback,
        "code_verifier": begun.derived("verifier"),
    }
    if provider.secret:
        known: dict[str, Any] = {"auth": (provider.client, provider.secret)}
    else:
        known, fields["client_id"] = {}, provider.client
    token = _json(http, provider, "POST", described["token_endpoint"], data=fields, **known).get("id_token")
    if not isinstance(token, str):
        raise Refused(f"{provider.name} did not say who you are.", 403)
    return token


def _json(
    http: httpx2.Client, provider: OpenIdProvider, method: str, url: str, **options: Any
) -> dict[str, Any]:
    try:
        with http.stream(method, url, **options) as answer:
            content = bytearray()
            for block in answer.iter_bytes():
                content += block
                if len(content) > MOST_BYTES:
                    raise ValueError
            found = json.loads(content) if answer.is_success else None
        if isinstance(found, dict):
            return found
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        pass
    raise Refused(f"{provider.name} cannot be reached, or does not answer as it should; try later.", 502)


def _claims(
    provider: OpenIdProvider, token: str, keys: dict[str, Any], nonce: str, now: float
) -> dict[str, Any]:
    """What a token says, whose signature, issuer, audience, time and nonce are checked."""
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    registry = jwt.JWTClaimsRegistry(
        now=int(now),
        leeway=LEEWAY_SECONDS,
        iss={"essential": True, "value": provider.issuer},
        aud={"essential": True, "value": provider.client},
        nonce={"essential": True, "value": nonce},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        known = KeySet.import_key_set(cast("KeySetSerialization", keys))
        claims = jwt.decode(token, known, list(ALGORITHMS)).claims
        registry.validate(claims)
    except (JoseError, ValueError, KeyError, TypeError):
        raise Refused(
            "What the provider says of you is not signed by it, or not meant for us.", 403
        ) from None
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else provider.client) != provider.client:
        raise Refused("What the provider says of you is meant for another service.", 403)
    return dict(claims)


def _person(claims: Mapping[str, Any]) -> Person:
    subject, email = claims["sub"], claims.get("email")
    if claims.get("email_verified") not in (True, "true") or not isinstance(email, str) or "@" not in email:
        raise Refused("The provider has not verified your e-mail address; have it do so first.", 403)
    if not 0 < len(subject) <= LONGEST_SUBJECT:
        raise Refused("The provider did not say who you are.", 403)
    names = (claims.get("preferred_username"), claims.get("name"), email.partition("@")[0])
    return Person(subject, next(name for name in names if isinstance(name, str) and name.strip()), email)
