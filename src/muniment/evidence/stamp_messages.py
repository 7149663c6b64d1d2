"""
The messages of RFC 3161, and what they need of CMS (RFC 5652), as DER.

They are declared here, and read and written by `cryptography`: no parser is made by hand. Only what
a time stamp needs is declared. Neither lists of revoked certificates nor attributes that nobody
signed have a place: what no signature covers says nothing, and could be changed unseen.
"""

from typing import Annotated, TypeVar

from cryptography.hazmat import asn1
from cryptography.hazmat.asn1 import TLV, Default, Explicit, GeneralizedTime, Implicit, SetOf
from cryptography.x509 import ObjectIdentifier

from muniment.errors import StampInvalid

_Message = TypeVar("_Message")


@asn1.sequence
class Algorithm:
    """RFC 5280 section 4.1.1.2, for algorithms without parameters."""

    id: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class Imprint:
    """RFC 3161 section 2.4.1: the digest of what is stamped."""

    algorithm: Algorithm
    digest: bytes


@asn1.sequence
class Request:
    """RFC 3161 section 2.4.1, without a policy and without extensions."""

    version: int
    imprint: Imprint
    nonce: int
    certificate: bool


@asn1.sequence
class Accuracy:
    """RFC 3161 section 2.4.2: how far the time may be off, either way."""

    seconds: int | None
    millis: Annotated[int | None, Implicit(0)]
    micros: Annotated[int | None, Implicit(1)]


@asn1.sequence
class Extension:
    """RFC 5280 section 4.1.2.9."""

    id: ObjectIdentifier
    critical: Annotated[bool, Default(value=False)]
    value: bytes


@asn1.sequence
class Info:
    """RFC 3161 section 2.4.2, `TSTInfo`: what the authority says."""

    version: int
    policy: ObjectIdentifier
    imprint: Imprint
    serial: int
    at: GeneralizedTime
    accuracy: Accuracy | None
    ordering: Annotated[bool, Default(value=False)]
    nonce: int | None
    #: a tag around one name of any kind; what counts is the name in the certificate
    authority: Annotated[list[TLV] | None, Implicit(0)]
    extensions: Annotated[list[Extension] | None, Implicit(1)]


@asn1.sequence
class Attribute:
    """RFC 5652 section 5.3."""

    type: ObjectIdentifier
    values: SetOf[TLV]


@asn1.sequence
class IssuerAndSerial:
    """RFC 5652 section 10.2.4."""

    issuer: TLV
    serial: int


@asn1.sequence
class Signer:
    """RFC 5652 section 5.3, `SignerInfo`, without unsigned attributes."""

    version: int
    certificate: IssuerAndSerial
    digest: Algorithm
    attributes: Annotated[SetOf[Attribute], Implicit(0)]
    algorithm: Algorithm
    signature: bytes


@asn1.sequence
class Content:
    """RFC 5652 section 5.2, `EncapsulatedContentInfo`."""

    type: ObjectIdentifier
    data: Annotated[bytes, Explicit(0)]


@asn1.sequence
class SignedData:
    """RFC 5652 section 5.1, without revocation lists."""

    version: int
    digests: SetOf[Algorithm]
    content: Content
    #: certificates; a list, and not a set, as authorities send them in any order
    certificates: Annotated[list[TLV], Implicit(0)]
    signers: SetOf[Signer]


@asn1.sequence
class Token:
    """RFC 3161 section 2.4.2: `TimeStampToken`, a `ContentInfo` of RFC 5652 section 3."""

    type: ObjectIdentifier
    signed: Annotated[SignedData, Explicit(0)]


@asn1.sequence
class Status:
    """RFC 3161 section 2.4.2, `PKIStatusInfo`."""

    status: int
    text: list[str] | None
    failure: asn1.BitString | None


@asn1.sequence
class Response:
    """RFC 3161 section 2.4.2."""

    status: Status
    token: Token | None


@asn1.sequence
class NamedIssuer:
    """RFC 5035 section 4, `IssuerSerial`: general names, of which the directory's has tag 4."""

    names: list[TLV]
    serial: int


@asn1.sequence
class CertificateId:
    """RFC 2634 section 5.4.1, `ESSCertID`: by SHA-1."""

    digest: bytes
    issuer: NamedIssuer | None


@asn1.sequence
class CertificateIdV2:
    """RFC 5035 section 4, `ESSCertIDv2`: by SHA-256 where nothing else is said."""

    algorithm: Algorithm | None
    digest: bytes
    issuer: NamedIssuer | None


@asn1.sequence
class SigningCertificate:
    """RFC 2634 section 5.4."""

    certificates: list[CertificateId]
    policies: list[TLV] | None


@asn1.sequence
class SigningCertificateV2:
    """RFC 5035 section 3."""

    certificates: list[CertificateIdV2]
    policies: list[TLV] | None


@asn1.sequence
class _Attributes:
    attributes: SetOf[Attribute]


def read(kind: type[_Message], data: bytes, what: str) -> _Message:
    """Raises `StampInvalid` for anything but the one encoding (DER) of such a message."""
    try:
        message = asn1.decode_der(kind, data)
        same = asn1.encode_der(message) == data
    except (ValueError, OverflowError) as error:
        raise StampInvalid(
            f"{what} cannot be read: it is none, or of a form unknown here"
        ) from error
    if not same:
        raise StampInvalid(f"{what} is not written canonically")
    return message


def write(message: object) -> bytes:
    return asn1.encode_der(message)


def value(tlv: TLV) -> bytes:
    """The whole of a value that was read as it stood, with its tag."""
    return asn1.encode_der(tlv)


def signed_bytes(attributes: SetOf[Attribute]) -> bytes:
    """What a signer signs: RFC 5652 section 5.4, the attributes under the tag of a set."""
    around = asn1.encode_der(_Attributes(attributes=attributes))
    return bytes(asn1.decode_der(TLV, around).data)
