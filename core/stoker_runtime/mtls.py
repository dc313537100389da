"""Mutual TLS between Stoker's own processes: an authority, its certificates, and contexts, all in memory.

Embedded mode makes an authority per process life; nothing of it survives. TLS 1.3 only, ECDSA P-256. Names are
not checked against certificates: both ends are known by the authority alone, which signs nobody else.
"""

import datetime as dt
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

LIFETIME = dt.timedelta(days=365)
"""Certificates live as long as the process that made them may; a clock that is an hour off is forgiven."""
_CLOCK_SKEW = dt.timedelta(hours=1)


class Credential(Struct, frozen=True):
    """One certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


class Authority(Struct, frozen=True):
    """What one deployment trusts, and the two credentials that it gave out."""

    root: bytes
    """Certificate of the authority, PEM. Its key is forgotten: nothing more can be signed."""
    server: Credential
    client: Credential

    def server_context(self) -> ssl.SSLContext:
        """For a listener that talks to holders of the client credential only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._filled(context, self.server)

    def client_context(self) -> ssl.SSLContext:
        """For connections to holders of the server credential only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        return self._filled(context, self.client)

    def _filled(self, context: ssl.SSLContext, credential: Credential) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.root.decode("ascii"))
        # The ssl module takes a key from a file only: a private folder, gone before this returns.
        with tempfile.TemporaryDirectory(prefix="stoker-tls-") as folder:
            chain = Path(folder) / "chain.pem"
            chain.touch(mode=0o600)
            chain.write_bytes(credential.certificate + credential.key)
            context.load_cert_chain(chain)
        return context


def make_authority() -> Authority:
    """A new authority with one server and one client credential. Takes a few milliseconds of CPU."""
    now = dt.datetime.now(dt.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Stoker authority")
    root = (
        _builder(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )

    def issue(common_name: str, usage: x509.ObjectIdentifier) -> Credential:
        own = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(common_name), name, own.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return Credential(
            certificate.public_bytes(serialization.Encoding.PEM),
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    return Authority(
        root=root.public_bytes(serialization.Encoding.PEM),
        server=issue("stoker-agent", ExtendedKeyUsageOID.SERVER_AUTH),
        client=issue("stoker-gateway", ExtendedKeyUsageOID.CLIENT_AUTH),
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
