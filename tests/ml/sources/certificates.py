"""An authority of one's own, and servers on this machine that speak TLS with a certificate of it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.ml.sources.replay_server import ReplayServer, Reply, serving

NOW = datetime.now(UTC)


class Authority:
    """`pem` is what a ca_file holds; `server_file` holds a server's certificate and key."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", days: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.pem, self.server_file = folder / "ca.pem", folder / "server.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate("Authority of a test", key, None, days).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        ca = ca.add_extension(_signs(), critical=True)
        self.pem.write_bytes(ca.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        own = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        signed = _certificate("Server of a test", own, key, days).add_extension(names, critical=False)
        self.server_file.write_bytes(
            signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @contextmanager
    def serving(self, reply: Reply) -> Iterator[ReplayServer]:
        """A server that speaks TLS until the block ends."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_file)
        with serving(reply, context) as server:
            yield server


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: ec.EllipticCurvePrivateKey | None,
    days: int,
) -> x509.CertificateBuilder:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    signer = (issuer or key).public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("Authority of a test" if issuer else name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=30))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _signs() -> x509.KeyUsage:
    rights = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    none = dict.fromkeys((*rights, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, **none)
