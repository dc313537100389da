"""Certificates for mutual TLS between Stoker's own processes: roots, what they sign, and contexts, all in memory.

TLS 1.3 only, ECDSA P-256. Embedded mode makes an Authority per process life, whose key is forgotten at once; both ends
are then known by the authority alone. On Kubernetes roots are kept and a certificate carries the name of its role
(stoker_operator.authority issues, stoker_runtime.identity uses them). Knows no Secret and no role.
"""

import datetime as dt
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

LIFETIME = dt.timedelta(days=365)
"""Embedded: certificates live as long as the process that made them may."""
_CLOCK_SKEW = dt.timedelta(hours=1)
"""A clock that is an hour off is forgiven."""

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class Credential(Struct, frozen=True):
    """One certificate and its private key, PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        # A key must not get into a log by way of a repr.
        return "Credential(...)"


class Authority(Struct, frozen=True):
    """What one deployment trusts, and the two credentials that it gave out."""

    root: bytes
    """Certificate of the authority, PEM. Its key is forgotten: nothing more can be signed."""
    server: Credential
    client: Credential

    def server_context(self) -> ssl.SSLContext:
        """For a listener that talks to holders of the client credential only."""
        return server_context(self.root, self.server)

    def client_context(self) -> ssl.SSLContext:
        """For connections to holders of the server credential only."""
        context = client_context(self.root, self.client)
        context.check_hostname = False
        return context


def server_context(roots: bytes, credential: Credential) -> ssl.SSLContext:
    """For a listener that talks to holders of a client credential of the roots only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would be judged by the certificates of the day on which it began.
    context.num_tickets = 0
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    fill(context, roots, credential)
    return context


def client_context(roots: bytes, credential: Credential) -> ssl.SSLContext:
    """For connections to holders of a server credential of the roots that has the name that is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    fill(context, roots, credential)
    return context


def fill(context: ssl.SSLContext, roots: bytes, credential: Credential) -> None:
    """Let new connections of a context use these. Roots that it trusts already stay trusted: OpenSSL takes none back.

    Raises ssl.SSLError or ValueError for what is no PEM, or a key that is not the certificate's.
    """
    context.load_verify_locations(cadata=roots.decode("ascii"))
    # The ssl module takes a key from a file only: a private folder, gone before this returns.
    with tempfile.TemporaryDirectory(prefix="stoker-tls-") as folder:
        chain = Path(folder) / "chain.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(credential.certificate.rstrip() + b"\n" + credential.key)
        context.load_cert_chain(chain)


def make_authority() -> Authority:
    """A new authority with one server and one client credential. Takes a few milliseconds of CPU."""
    now = dt.datetime.now(dt.UTC)
    root = make_root("Stoker authority", now, LIFETIME)
    return Authority(
        root=root.certificate,
        server=issue(root, "stoker-agent", now, LIFETIME, usages=(SERVER,)),
        client=issue(root, "stoker-gateway", now, LIFETIME, usages=(CLIENT,)),
    )


def make_root(common_name: str, now: dt.datetime, lifetime: dt.timedelta) -> Credential:
    """A new root that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    certificate = (
        _builder(name, name, key.public_key(), now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _credential(certificate, key)


def issue(
    root: Credential,
    common_name: str,
    now: dt.datetime,
    lifetime: dt.timedelta,
    *,
    usages: Sequence[x509.ObjectIdentifier] = (SERVER, CLIENT),
    dns_names: Sequence[str] = (),
) -> Credential:
    """A new certificate signed by the root; it never outlives the root. Raises ValueError for a root that is none."""
    signer = x509.load_pem_x509_certificate(root.certificate)
    signing = serialization.load_pem_private_key(root.key, password=None)
    if not isinstance(signing, ec.EllipticCurvePrivateKey) or signing.public_key() != signer.public_key():
        raise ValueError("the key of the root is not an elliptic curve key that fits its certificate")
    own = ec.generate_private_key(ec.SECP256R1())
    until = min(now + lifetime, signer.not_valid_after_utc)
    builder = (
        _builder(_name(common_name), signer.subject, own.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    if dns_names:
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
        builder = builder.add_extension(names, critical=False)
    return _credential(builder.sign(signing, hashes.SHA256()), own)


def _credential(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Credential:
    return Credential(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime, until: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(until)
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
