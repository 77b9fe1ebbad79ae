"""Protection of OPC UA connections: the options, our own certificate, made once and kept, and whom we trust."""

import datetime as dt
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import BaseModel, ConfigDict, SecretStr, model_validator

log = logging.getLogger("sources.opcua")

LIFE: Final = dt.timedelta(days=3650)
"""A certificate that ends after a year would stop a whole plant a year later."""
WARN_BEFORE: Final = dt.timedelta(days=60)
_making: Final = threading.Lock()


class Security(BaseModel):
    """How the connection is protected, and who we are to the server."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    mode: Literal["none", "sign", "sign_and_encrypt"] = "sign_and_encrypt"
    """Signed and encrypted unless stated otherwise; never less than stated."""
    policy: Literal["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"] = "Basic256Sha256"
    """The security policy, by the standard's name."""
    certificate: Path | None = None
    """Our certificate (DER or PEM); default: one of our own making in `$PENSTOCK_DATA/pki/own`."""
    key: Path | None = None
    """The private key of `certificate` (PEM)."""
    trust: Path | Literal["any"] | None = None
    """Folder of trusted server certificates; default `$PENSTOCK_DATA/pki/trusted`. `any` accepts every server."""
    user: str | None = None
    """User name; without it the session is anonymous."""
    password: SecretStr | None = None
    """Password of `user`; give it as `${env:NAME}`."""

    @model_validator(mode="after")
    def _belong_together(self) -> "Security":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        if self.password is not None and self.user is None:
            raise ValueError("a password needs a user")
        return self


class TrustError(Exception):
    """A certificate is not accepted, by us; the message says whose and what to do."""


def pki_folder() -> Path:
    """Where certificates are kept: `$PENSTOCK_DATA/pki`."""
    return Path(os.environ.get("PENSTOCK_DATA", ".data")) / "pki"


def own_files(security: "Security") -> tuple[Path, Path]:
    """Certificate and key that the configuration names, else our own."""
    if security.certificate is not None and security.key is not None:
        return security.certificate, security.key
    return own_certificate(pki_folder())


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """Certificate (DER) and key (PEM, readable by us only) of this gateway; made if there are none."""
    certificate, key = folder / "own" / "certificate.der", folder / "own" / "key.pem"
    with _making:  # the sources of a process start together
        if not (certificate.exists() and key.exists()):
            certificate.parent.mkdir(parents=True, exist_ok=True)
            _make(certificate, key)
    return certificate, key


def _make(certificate: Path, key: Path) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(key, pem, 0o600)
    _write(certificate, _self_signed(private).public_bytes(Encoding.DER), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    fresh.replace(path)


def _self_signed(private: rsa.RSAPrivateKey) -> x509.Certificate:
    """As OPC UA Part 6, 6.2.2 wants application instance certificates."""
    host = socket.gethostname()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Penstock@{host}"[:64])])
    now = dt.datetime.now(dt.UTC)
    names = [x509.UniformResourceIdentifier(f"urn:{host}:penstock"), x509.DNSName(host)]
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_cert_sign=True,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(private.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=False)
        .add_extension(usage, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )


def load(path: Path) -> x509.Certificate:
    """A certificate from a DER or PEM file."""
    content = path.read_bytes()
    if content.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


def application_uri(certificate: x509.Certificate) -> str:
    """The URI in a certificate: an application must announce itself by exactly this one."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    except (x509.ExtensionNotFound, IndexError):
        raise TrustError("our certificate has no application URI among its alternative names; make a new one") from None


def thumbprint(certificate: x509.Certificate) -> str:
    """The SHA-1 hash by which OPC UA tools show a certificate."""
    return certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - a name, not a proof


def check_life(certificate: x509.Certificate, whose: str) -> None:
    """Refuse a certificate that has ended; warn of one that ends soon."""
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    if left < dt.timedelta(0):
        raise TrustError(f"{whose} {thumbprint(certificate)} ended on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if left < WARN_BEFORE:
        log.warning("%s %s ends in %d days", whose, thumbprint(certificate), left.days)


def check_server(certificate: x509.Certificate, trusted: Path, rejected: Path) -> None:
    """Accept a server's certificate only if it, or the authority that issued it, is in the folder `trusted`."""
    check_life(certificate, "the server's certificate")
    if any(certificate == known or _issued(certificate, known) for known in _certificates(trusted)):
        return
    rejected.mkdir(parents=True, exist_ok=True)
    kept = rejected / f"{thumbprint(certificate)}.der"
    kept.write_bytes(certificate.public_bytes(Encoding.DER))
    raise TrustError(f"the server's certificate is not trusted; if {kept} is right, move it to {trusted}")


def _certificates(folder: Path) -> Iterator[x509.Certificate]:
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix.lower() in {".der", ".pem", ".crt", ".cer"}:
            yield load(path)


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # whatever does not verify was not issued by it
        return False
    return True
