"""An OpenID provider on loopback: it knows one client, gives codes, and signs tokens."""

import base64
import hashlib
import html
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "checker", "of the client"
KEY, ANOTHER_KEY = (RSAKey.generate_key(2048, {"kid": "first"}) for _ in range(2))  # of one name
ALGORITHM = {"alg": "RS256", "kid": "first"}


@dataclass
class Issuer:
    """What it says. claims: of whoever signs in, beyond those that the flow itself sets; header, key: of tokens."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=lambda: dict(ALGORITHM))
    key: Any = field(default_factory=lambda: KEY)
    described: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: int = 0  # for its description

    def sign_in(self, address: str) -> dict[str, str]:
        """What a browser brings back after somebody has signed in at `address`."""
        asked = dict(parse_qsl(urlsplit(address).query))
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        code = f"code{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def page(self, path: str) -> str:
        """Where somebody in a browser signs in: a link back, with what `sign_in` gives."""
        asked = dict(parse_qsl(urlsplit(path).query))
        back = html.escape(f"{asked['redirect_uri']}?{urlencode(self.sign_in(path))}")
        return f'<!doctype html><title>Provider</title><link rel="icon" href="data:,"><a href="{back}">I am Ann</a>'

    def token(self, fields: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """The answer to a code, once; None for a request that a provider refuses."""
        asked = self.codes.pop(fields.get("code", ""), None)
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if asked is None or authorization != f"Basic {expected}":
            return None
        digest = hashlib.sha256(fields["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != asked["code_challenge"]:
            return None
        if fields["redirect_uri"] != asked["redirect_uri"]:
            return None
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "42",
            "iat": int(self.seconds),
            "exp": int(self.seconds) + 300,
            "nonce": asked["nonce"],
            "email": "ann@example.org",
            "email_verified": True,
            **self.claims,
        }
        said = {name: value for name, value in claims.items() if value is not None}
        return {"id_token": jwt.encode(self.header, said, self.key, ["RS256", "HS256", "none"])}

    def description(self) -> dict[str, Any]:
        """What it says of itself."""
        self.asked += 1
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=1",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            **self.described,
        }


@contextmanager
def running() -> Iterator[Issuer]:
    """An issuer that answers while the context lasts."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/authorize"):
                self.answer(200, "text/html", issuer.page(self.path))
            elif self.path == "/.well-known/openid-configuration":
                self.say(issuer.description())
            else:
                self.say({"keys": [KEY.as_dict(private=False)]} if self.path == "/keys" else None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            fields = {name: values[0] for name, values in parse_qs(body).items()}
            self.say(issuer.token(fields, self.headers.get("Authorization", "")))

        def say(self, found: object) -> None:
            content = json.dumps(found if found is not None else {"error": "invalid_grant"})
            self.answer(200 if found is not None else 400, "application/json", content)

        def answer(self, status: int, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield issuer
        server.shutdown()
        thread.join()
