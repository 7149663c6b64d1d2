"""
A time-stamp authority in memory: real RFC 3161 tokens, by keys of its own, at the time you say.

It keeps to the standard unless told otherwise: a test may have it sign what no authority should.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from muniment.evidence import stamp_messages as messages
from muniment.evidence.stamp import SHA_256, SIGNED_DATA, TST_INFO

_START = datetime(2026, 1, 1, tzinfo=UTC)
_SIGNING_CERTIFICATE_V2 = ObjectIdentifier("1.2.840.113549.1.9.16.2.47")
_CONTENT_TYPE = ObjectIdentifier("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = ObjectIdentifier("1.2.840.113549.1.9.4")
_POLICY = ObjectIdentifier("1.3.6.1.4.1.57264.2")

Attributes = dict[ObjectIdentifier, bytes]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(kw_only=True)
class Issuer:
    """Somebody who issues certificates: a root where `above` is None."""

    name: str
    above: "Issuer | None" = None
    since: datetime = _START
    until: datetime = _START + timedelta(days=3650)
    path_length: int | None = None
    is_ca: bool = True
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        by = self.above or self
        constraints = x509.BasicConstraints(
            ca=self.is_ca, path_length=self.path_length if self.is_ca else None
        )
        self.certificate = (
            _certificate(self.name, self.key.public_key(), by.name, self.since, self.until)
            .add_extension(constraints, critical=True)
            .sign(by.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def _certificate(
    name: str, key: ec.EllipticCurvePublicKey, by: str, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(by))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


@dataclass(kw_only=True)
class TimeStampAuthority:
    """Stamps whatever it is given. `purpose` None leaves the extension out."""

    name: str = "Example Time Stamps"
    issuer: Issuer = field(default_factory=lambda: Issuer(name="Example Root"))
    since: datetime = _START
    until: datetime = _START + timedelta(days=365)
    purpose: Sequence[ObjectIdentifier] | None = (ExtendedKeyUsageOID.TIME_STAMPING,)
    critical: bool = True
    #: certificates of issuers that its tokens carry
    carries: Sequence[Issuer] = ()
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        builder = _certificate(
            self.name, self.key.public_key(), self.issuer.name, self.since, self.until
        )
        if self.purpose is not None:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage(self.purpose), critical=self.critical
            )
        self.certificate = builder.sign(self.issuer.key, hashes.SHA256())

    def info(self, text: bytes, at: datetime, nonce: int | None = None) -> messages.Info:
        return messages.Info(
            version=1, policy=_POLICY,
            imprint=messages.Imprint(
                algorithm=messages.Algorithm(id=SHA_256, parameters=None),
                digest=sha256(text).digest(),
            ),
            serial=1, at=asn1.GeneralizedTime(at),
            accuracy=messages.Accuracy(seconds=1, millis=None, micros=None), ordering=False,
            nonce=nonce, authority=None, extensions=None,
        )  # fmt: skip

    def token(
        self,
        text: bytes,
        at: datetime,
        nonce: int | None = None,
        *,
        changed: Callable[[Attributes], Attributes] = lambda same: same,
    ) -> bytes:
        """The token over a text. `changed` may make its signer sign other attributes."""
        return self.seal(messages.write(self.info(text, at, nonce)), changed)

    def seal(
        self, content: bytes, changed: Callable[[Attributes], Attributes] = lambda same: same
    ) -> bytes:
        """A token around any content."""
        sha = messages.Algorithm(id=SHA_256, parameters=None)
        own = messages.CertificateIdV2(
            algorithm=None, digest=self.certificate.fingerprint(hashes.SHA256()), issuer=None
        )
        attributes = _attributes(
            changed(
                {
                    _CONTENT_TYPE: messages.write(TST_INFO),
                    _MESSAGE_DIGEST: messages.write(sha256(content).digest()),
                    _SIGNING_CERTIFICATE_V2: messages.write(
                        messages.SigningCertificateV2(certificates=[own], policies=None)
                    ),
                }
            )
        )
        signature = self.key.sign(messages.signed_bytes(attributes), ec.ECDSA(hashes.SHA256()))
        issuer = asn1.decode_der(asn1.TLV, self.certificate.issuer.public_bytes())
        signer = messages.Signer(
            version=1,
            certificate=messages.IssuerAndSerial(
                issuer=issuer, serial=self.certificate.serial_number
            ),
            digest=sha, attributes=attributes,
            algorithm=messages.Algorithm(
                id=SignatureAlgorithmOID.ECDSA_WITH_SHA256, parameters=None
            ),
            signature=signature,
        )  # fmt: skip
        signed = messages.SignedData(
            version=3, digests=asn1.SetOf([sha]),
            content=messages.Content(type=TST_INFO, data=content),
            certificates=[
                _value(each) for each in (self.certificate, *(i.certificate for i in self.carries))
            ],
            signers=asn1.SetOf([signer]),
        )  # fmt: skip
        return messages.write(messages.Token(type=SIGNED_DATA, signed=signed))

    def answer(self, request: bytes, at: datetime) -> bytes:
        """What it sends to an `application/timestamp-query`."""
        asked = messages.read(messages.Request, request, "the request")
        info = self.info(b"", at, asked.nonce)
        info.imprint = asked.imprint
        token = self.seal(messages.write(info))
        return messages.write(
            messages.Response(
                status=messages.Status(status=0, text=None, failure=None),
                token=messages.read(messages.Token, token, "the token"),
            )
        )


def _value(certificate: x509.Certificate) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, certificate.public_bytes(Encoding.DER))


def _attributes(values: Attributes) -> asn1.SetOf[messages.Attribute]:
    return asn1.SetOf(
        [
            messages.Attribute(type=type, values=asn1.SetOf([asn1.decode_der(asn1.TLV, value)]))
            for type, value in values.items()
        ]
    )
