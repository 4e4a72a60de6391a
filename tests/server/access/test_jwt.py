from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from convscope_server.access.jwt import (
    IdentityProviderUnreachableError,
    JwtVerifier,
    keys_of_file,
    keys_of_issuer,
)
from convscope_server.access.principal import Principal

ISSUER = "https://login.example.org"
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
JWKS = json.dumps(
    {
        "keys": [
            {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "r", "alg": "RS256"},
            {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "e", "alg": "ES256"},
        ]
    }
)


def token(key: Any = RSA_KEY, algorithm: str = "RS256", kid: str = "r", **changes: Any) -> str:
    claims = {"iss": ISSUER, "aud": "convscope", "sub": "ada", "exp": time.time() + 60, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid})


@pytest.fixture
def verifier(tmp_path: Path) -> JwtVerifier:
    file = tmp_path / "jwks.json"
    file.write_text(JWKS)
    return JwtVerifier(ISSUER, "convscope", keys_of_file(file))


def test_a_signed_token_names_its_principal(verifier: JwtVerifier) -> None:
    assert verifier.principal(token()) == Principal("ada", means="jwt")
    assert verifier.principal(token(EC_KEY, "ES256", "e")) == Principal("ada", means="jwt")
    assert verifier.principal(token(aud=["other", "convscope"])) == Principal("ada", means="jwt")
    admin = verifier.principal(token(roles=["x", "convscope-admin"]))
    assert admin == Principal("ada", admin=True, means="jwt")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example.org"},
        {"aud": "other"},
        {"aud": None},
        {"exp": None},
        {"iss": None},
        {"exp": time.time() - 3600},
        {"nbf": time.time() + 3600},
        {"sub": None},
        {"sub": ""},
        {"kid": "unknown"},
        {"key": rsa.generate_private_key(65537, 2048)},
        {"key": "a secret that is long enough to be one", "algorithm": "HS256"},
    ],
    ids="-".join,
)
def test_a_token_that_is_not_quite_right_names_nobody(changes: dict[str, Any], verifier: JwtVerifier) -> None:
    assert verifier.principal(token(**changes)) is None


def test_a_token_without_signature_or_with_a_changed_claim_names_nobody(verifier: JwtVerifier) -> None:
    none = jwt.encode({"iss": ISSUER, "aud": "convscope", "sub": "ada", "exp": time.time() + 60}, "", "none")
    head, _, signature = token().split(".")
    body = token(sub="root").split(".")[1]
    for forged in (none, f"{head}.{body}.{signature}", "a.b.c", "", "é"):
        assert verifier.principal(forged) is None


def test_roles_that_are_no_list_make_no_admin(verifier: JwtVerifier) -> None:
    found = verifier.principal(token(roles="not-convscope-admin-at-all convscope-admin"))
    assert found is not None
    assert not found.admin


def test_claims_can_have_other_names(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(JWKS)
    verifier = JwtVerifier(
        ISSUER, "convscope", keys_of_file(file), name_claim="email", admin_claim="groups", admin_value="gpu"
    )
    found = verifier.principal(token(email="ada@lab.org", groups=["gpu"]))
    assert found == Principal("ada@lab.org", admin=True, means="jwt")


def test_a_file_that_is_no_key_set_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text("{}")
    with pytest.raises(ValueError, match="no set of JSON Web Keys"):
        keys_of_file(file)


@contextmanager
def provider(asked: list[str]) -> Iterator[str]:
    """An identity provider on this machine; gives its issuer."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            pages = {"/.well-known/openid-configuration": json.dumps({"jwks_uri": f"{issuer}/keys"}), "/keys": JWKS}
            body = pages.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    issuer = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield issuer
    server.shutdown()
    server.server_close()


def test_an_issuers_keys_are_found_by_discovery_and_kept() -> None:
    asked: list[str] = []
    with provider(asked) as issuer:
        verifier = JwtVerifier(issuer, "convscope", keys_of_issuer(issuer))
        for _ in range(3):
            assert verifier.principal(token(iss=issuer)) == Principal("ada", means="jwt")
        assert verifier.principal(token(iss=issuer, kid="unknown")) is None
    assert asked == ["/.well-known/openid-configuration", "/keys"]


def test_an_issuer_that_does_not_answer_is_said_to_be_so() -> None:
    with provider([]) as issuer:
        pass
    with pytest.raises(IdentityProviderUnreachableError, match="127"):
        JwtVerifier(issuer, "convscope", keys_of_issuer(issuer)).principal(token(iss=issuer))


def test_keys_are_never_asked_for_in_the_clear() -> None:
    with pytest.raises(IdentityProviderUnreachableError, match="not https"):
        keys_of_issuer("http://login.example.org")("r")
