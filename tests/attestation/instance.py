"""An instance of Sigstore on this machine: an authority (Fulcio) and a log (Rekor), by their HTTP interfaces.

The authority gives certificates of ten minutes with a signed certificate timestamp (RFC 6962) to holders of identity
tokens that the test signs; the log keeps a Merkle tree, and gives proofs and checkpoints. So the client that signs, and
the verification, are those of the package sigstore, unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

WHO, PROVIDER = "builder@example.com", "https://accounts.example.com"
_SECRET = "of the provider of identities, long enough for HS256"
_ISSUER_OIDS = ("1.3.6.1.4.1.57264.1.1", "1.3.6.1.4.1.57264.1.8")
_TIMESTAMPS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def token(identity: str = WHO, provider: str = PROVIDER, *, seconds: int = 600, secret: str = _SECRET) -> str:
    """Return an identity token, as a provider (OpenID Connect) gives it."""
    now = int(datetime.now(UTC).timestamp())
    claims = {"aud": "sigstore", "sub": identity, "iss": provider, "iat": now, "exp": now + seconds}
    return jwt.encode(claims, secret, algorithm="HS256")


class Instance(ThreadingHTTPServer):
    """The keys, and the entries of the log. `fails` is answered with a status instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root_key, self.log_key, self.timestamp_key = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(3)
        )
        self.root = _root(self.root_key)
        self.entries: list[bytes] = []
        self.fails = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def config(self) -> str:
        """Return its trust configuration."""
        since = {"start": "2020-01-01T00:00:00Z"}
        service = {"url": self.url, "majorApiVersion": 1, "validFor": since, "operator": "a test"}
        root = self.root.public_bytes(Encoding.DER)
        authority = {
            "subject": {"organization": "a test", "commonName": "a test"},
            "uri": self.url,
            "certChain": {"certificates": [{"rawBytes": _base64(root)}]},
            "validFor": since,
        }
        trusted = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self._log(self.log_key)],
            "certificateAuthorities": [authority],
            "ctlogs": [self._log(self.timestamp_key)],
        }
        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            **{name: [service] for name in ("caUrls", "oidcUrls", "rekorTlogUrls")},
            **{name: {"selector": "ANY"} for name in ("rekorTlogConfig", "tsaConfig")},
        }
        kind = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return json.dumps({"mediaType": kind, "trustedRoot": trusted, "signingConfig": signing})

    def _log(self, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        public = {"rawBytes": _base64(_der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {**public, "validFor": {"start": "2020-01-01T00:00:00Z"}},
            "logId": {"keyId": _base64(_id(key))},
        }

    def certified(self, request: dict[str, Any], bearer: str) -> dict[str, Any]:
        """Answer a request for a certificate. Raises jwt.InvalidTokenError for a token of nobody."""
        claims = jwt.decode(bearer, _SECRET, algorithms=["HS256"], audience="sigstore")
        csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        builder = self._builder(csr, claims)
        without = builder.sign(self.root_key, hashes.SHA256())
        listed = self._timestamps(without.tbs_certificate_bytes)
        leaf = builder.add_extension(
            x509.UnrecognizedExtension(_TIMESTAMPS, b"\x04" + _length(len(listed)) + listed), critical=False
        ).sign(self.root_key, hashes.SHA256())
        chain = [one.public_bytes(Encoding.PEM).decode() for one in (leaf, self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def _builder(
        self, csr: x509.CertificateSigningRequest, claims: dict[str, Any]
    ) -> x509.CertificateBuilder:
        now, provider = datetime.now(UTC), str(claims["iss"]).encode()
        usage = {name: name == "digital_signature" for name in _USAGES}
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(seconds=5))
            .not_valid_after(now + timedelta(minutes=10))
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(str(claims["sub"]))]), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()), critical=False
            )
        )
        values = (provider, b"\x0c" + _length(len(provider)) + provider)
        for oid, value in zip(_ISSUER_OIDS, values, strict=True):
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(extension, critical=False)
        return builder

    def _timestamps(self, certificate: bytes) -> bytes:
        """Return the list with the timestamp of a certificate that has none yet (RFC 6962, 3.2 and 3.3)."""
        when = int(datetime.now(UTC).timestamp() * 1000)
        entry = _id(self.root_key) + struct.pack("!I", len(certificate))[1:] + certificate
        signed = struct.pack("!BBQH", 0, 0, when, 1) + entry + b"\0\0"
        signature = _sign(self.timestamp_key, signed)
        one = struct.pack("!B32sQHBBH", 0, _id(self.timestamp_key), when, 0, 4, 3, len(signature)) + signature
        return struct.pack("!HH", len(one) + 2, len(one)) + one

    def logged(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request to take an envelope up."""
        content = request["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        (one,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"])
        hashes_of = {"envelopeHash": content["envelope"].encode(), "payloadHash": payload}
        spec: dict[str, Any] = {
            name: {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}
            for name, data in hashes_of.items()
        }
        spec["signatures"] = [{"signature": one["sig"], "verifier": content["verifiers"][0]}]
        body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}, sort_keys=True).encode()
        self.entries.append(body)
        number, when = len(self.entries) - 1, int(datetime.now(UTC).timestamp())
        told = {
            "body": _base64(body),
            "integratedTime": when,
            "logID": _id(self.log_key).hex(),
            "logIndex": number,
        }
        promise = _sign(self.log_key, json.dumps(told, sort_keys=True, separators=(",", ":")).encode())
        verification = {"inclusionProof": self._proof(number), "signedEntryTimestamp": _base64(promise)}
        return {_leaf(body).hex(): {**told, "verification": verification}}

    def _proof(self, number: int) -> dict[str, Any]:
        leaves = [_leaf(one) for one in self.entries]
        root = _tree(leaves)
        note = f"a test - 1\n{len(leaves)}\n{_base64(root)}\n"
        signature = _base64(_id(self.log_key)[:4] + _sign(self.log_key, note.encode()))
        return {
            "logIndex": number,
            "treeSize": len(leaves),
            "rootHash": root.hex(),
            "hashes": [one.hex() for one in _path(number, leaves)],
            "checkpoint": f"{note}\n\u2014 a-test {signature}\n",
        }


class _Handler(BaseHTTPRequestHandler):
    server: Instance

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.fails:
            self._answer(self.server.fails, {"message": "no space in the log"})
            return
        try:
            if self.path == "/api/v2/signingCert":
                bearer = self.headers["Authorization"].removeprefix("Bearer ")
                self._answer(200, self.server.certified(request, bearer))
            else:
                self._answer(201, self.server.logged(request))
        except jwt.InvalidTokenError as error:
            self._answer(401, {"message": str(error)})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def instance() -> Iterator[Instance]:
    """Run one."""
    server = Instance()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def _root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")]), datetime.now(UTC)
    usage = {one: one in ("key_cert_sign", "crl_sign") for one in _USAGES}
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def _tree(leaves: list[bytes]) -> bytes:
    """Return the root of a Merkle tree (RFC 6962, 2.1)."""
    if len(leaves) == 1:
        return leaves[0]
    half = _half(len(leaves))
    return hashlib.sha256(b"\1" + _tree(leaves[:half]) + _tree(leaves[half:])).digest()


def _path(number: int, leaves: list[bytes]) -> list[bytes]:
    """Return the hashes that lead from a leaf to the root (RFC 6962, 2.1.1)."""
    if len(leaves) == 1:
        return []
    half = _half(len(leaves))
    if number < half:
        return [*_path(number, leaves[:half]), _tree(leaves[half:])]
    return [*_path(number - half, leaves[half:]), _tree(leaves[:half])]


def _half(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def _length(count: int) -> bytes:
    """Return a length in DER."""
    if count < 128:
        return bytes([count])
    return bytes([129, count]) if count < 256 else bytes([130, *divmod(count, 256)])


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_der(key)).digest()


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
