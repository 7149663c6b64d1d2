"""
RFC 3161 time stamps: an authority's word that some text existed at a moment, checked offline.

What a token says is read and held against the text, in this order:

1. it is one CMS signature over one `TSTInfo`, as DER;
2. the imprint is the digest of the text;
3. the signed attributes name the type of the content, its digest, and the certificate that signed
   (RFC 5816: by `signing-certificate` or `signing-certificate-v2`);
4. that certificate is for time stamps and nothing else (RFC 3161 section 2.3), and its key signed;
5. whatever other certificates are in the token issued one of those before.

All this anybody can make. Whether the authority is one to believe is `TimeStamp.check_authority`:

6. its certificate leads to a root that the reader named, and the whole path held *at the time that
   the token states*: so it is still good after the certificate has expired.

What this does not show: that the certificate was revoked, before or since. Nor does anything cover
copies of issuers' certificates inside a token, except that step 6 needs those on the path.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from muniment.errors import StampInvalid
from muniment.evidence import stamp_messages as messages

MAX_TOKEN: Final = 64 * 1024
_MIN_RSA: Final = 2048
#: of the signer and of those above him
MAX_CERTIFICATES: Final = 8
#: whoever is less sure of his clock says nothing that is of use here
MAX_ACCURACY: Final = timedelta(days=1)

_MAX_SHOWN: Final = 200
SIGNED_DATA: Final = ObjectIdentifier("1.2.840.113549.1.7.2")
TST_INFO: Final = ObjectIdentifier("1.2.840.113549.1.9.16.1.4")
_CONTENT_TYPE: Final = ObjectIdentifier("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = ObjectIdentifier("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE: Final = ObjectIdentifier("1.2.840.113549.1.9.16.2.12")
_SIGNING_CERTIFICATE_V2: Final = ObjectIdentifier("1.2.840.113549.1.9.16.2.47")
SHA_256: Final = ObjectIdentifier("2.16.840.1.101.3.4.2.1")

_HASHES: Final = {
    SHA_256: SHA256(),
    ObjectIdentifier("2.16.840.1.101.3.4.2.2"): SHA384(),
    ObjectIdentifier("2.16.840.1.101.3.4.2.3"): SHA512(),
}
#: by signature algorithm: the kind of key, and the digest where the algorithm names one
_SIGNATURES: Final = {
    ObjectIdentifier("1.2.840.113549.1.1.1"): (rsa.RSAPublicKey, None),  # RFC 3370 section 3.2
    SignatureAlgorithmOID.RSA_WITH_SHA256: (rsa.RSAPublicKey, SHA256),
    SignatureAlgorithmOID.RSA_WITH_SHA384: (rsa.RSAPublicKey, SHA384),
    SignatureAlgorithmOID.RSA_WITH_SHA512: (rsa.RSAPublicKey, SHA512),
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: (ec.EllipticCurvePublicKey, SHA256),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: (ec.EllipticCurvePublicKey, SHA384),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: (ec.EllipticCurvePublicKey, SHA512),
}
#: what a certificate that cannot be read raises, here or there
_BAD_CERTIFICATE: Final = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

Roots: TypeAlias = Sequence[x509.Certificate]


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeStamp:
    """What a token says about a text. Who is to believe it is another question: steps 1 to 5."""

    #: the subject of the certificate that signed, as RFC 4514 writes it, and printable
    authority: str
    #: when the text existed, by the authority's clock
    at: datetime
    #: how far that clock may be off, either way; zero where nothing is said
    accuracy: timedelta
    #: identifies the rules under which the authority stamps
    policy: str
    #: what whoever asked sent along, to know the answer by
    nonce: int | None
    certificate: x509.Certificate = field(repr=False)
    #: certificates of issuers that came along
    issuers: tuple[x509.Certificate, ...] = field(repr=False)

    @property
    def before(self) -> datetime:
        """The text existed before: the stated time with all its inaccuracy, up to the second."""
        latest = self.at + self.accuracy
        return latest.replace(microsecond=0) + timedelta(seconds=latest.microsecond > 0)

    def check_authority(self, roots: Roots) -> None:
        """Step 6. Raises `StampInvalid` unless a certificate of `roots` stands behind it."""
        if not roots:
            raise StampInvalid("no root was given to hold it against")
        try:
            # RFC 5280 section 6, by `cryptography`; what it asks of names is for servers only
            verifier = (
                PolicyBuilder()
                .store(Store(list(roots)))
                .time(self.at)
                .extension_policies(ca_policy=_ISSUER, ee_policy=ExtensionPolicy.permit_all())
                .build_client_verifier()
            )
            verifier.verify(self.certificate, list(self.issuers))
        except (VerificationError, *_BAD_CERTIFICATE) as error:
            raise StampInvalid(
                f"`{self.authority}` does not lead to your root at {self.at:%Y-%m-%dT%H:%M:%SZ}:"
                f" {_short(error)}"
            ) from error


def open_token(token: bytes, text: bytes) -> TimeStamp:
    """What this token says about this text: steps 1 to 5. Raises `StampInvalid`."""
    if len(token) > MAX_TOKEN:
        raise StampInvalid(f"a time stamp of {len(token)} bytes is too long")
    outer = messages.read(messages.Token, token, "the time stamp")
    signed = outer.signed
    # RFC 5652 section 5.1: version 3, as the content is of another type than `data`
    _require(
        (outer.type, signed.version, signed.content.type) == (SIGNED_DATA, 3, TST_INFO),
        "it is no time stamp",
    )
    info = messages.read(messages.Info, signed.content.data, "what the time stamp says")
    _check_info(info, text)

    signers = signed.signers.as_list()
    _require(len(signers) == 1, "a time stamp has one signer")  # RFC 3161 section 2.4.2
    signer = signers[0]
    _require(
        [each.id for each in signed.digests.as_list()] == [signer.digest.id],
        "it lists other digests than its signer used",
    )
    try:
        certificate, issuers = _split(signed.certificates, signer)
        _check_attributes(signer, certificate, signed.content.data)
        _check_purpose(certificate)
        _check_signature(signer, certificate)
        _check_issuers(certificate, issuers)
        authority = printable(certificate.subject.rfc4514_string())
    except _BAD_CERTIFICATE as error:
        raise StampInvalid(f"a certificate in the time stamp: {_short(error)}") from error
    return TimeStamp(
        authority=authority,
        at=info.at.as_datetime(),
        accuracy=_accuracy(info),
        policy=info.policy.dotted_string,
        nonce=info.nonce,
        certificate=certificate,
        issuers=issuers,
    )


def verify(token: bytes, text: bytes, roots: Roots) -> TimeStamp:
    """All six steps. Raises `StampInvalid`."""
    stamp = open_token(token, text)
    stamp.check_authority(roots)
    return stamp


def read_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM file of the reader. Raises `StampInvalid`."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise StampInvalid("this is no PEM file with certificates") from error


# --- steps 1 and 2 ----------------------------------------------------------------------------


def _check_info(info: messages.Info, text: bytes) -> None:
    _require(info.version == 1, "it is of a version that is unknown here")
    # RFC 5280 section 4.2: a critical extension that is not understood refuses
    critical = any(extension.critical for extension in info.extensions or [])
    _require(not critical, "it has a critical extension that is unknown here")
    _require(_accuracy(info) <= MAX_ACCURACY, "its time may be more than a day off")
    # with its inaccuracy it is a moment that a calendar has
    _require(info.at.as_datetime().year < MAXYEAR, "it is of the last year of all calendars")
    imprint = info.imprint
    _require(_digest(_hash(imprint.algorithm), text) == imprint.digest, "it is about another text")


def _accuracy(info: messages.Info) -> timedelta:
    given = info.accuracy
    if given is None:
        return timedelta()
    seconds, millis, micros = given.seconds or 0, given.millis or 0, given.micros or 0
    # RFC 3161 section 2.4.2: parts of a second go from 1 to 999
    _require(
        0 <= seconds <= MAX_ACCURACY.total_seconds() and {millis, micros} <= set(range(1000)),
        "its accuracy is out of range",
    )
    return timedelta(seconds=seconds, milliseconds=millis, microseconds=micros)


def _hash(algorithm: messages.Algorithm) -> HashAlgorithm:
    found = _HASHES.get(algorithm.id)
    if found is None:
        raise StampInvalid(
            f"it uses the digest {algorithm.id.dotted_string}, which is not one used"
        )
    return found


def _digest(algorithm: HashAlgorithm, data: bytes) -> bytes:
    digest = Hash(algorithm)
    digest.update(data)
    return digest.finalize()


# --- step 3 -----------------------------------------------------------------------------------


def _split(
    carried: Sequence[asn1.TLV], signer: messages.Signer
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """The certificate that the signer names, and the others."""
    _require(len(carried) <= MAX_CERTIFICATES, "it carries too many certificates")
    certificates = [_load(messages.value(each)) for each in carried]
    _require(signer.version == 1, "its signer is of a version that is unknown here")
    named = messages.value(signer.certificate.issuer), signer.certificate.serial
    own = [each for each in certificates if _name(each) == named]
    _require(len(own) == 1, "it does not carry the certificate of its signer")
    return own[0], tuple(each for each in certificates if each != own[0])


def _load(der: bytes) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(der)
    # a signature is whole octets, though its type could leave bits of the last one unused: a copy
    # that says so would be read as the same certificate
    _require(der.endswith(b"\0" + certificate.signature), "a certificate is not canonical")
    return certificate


def _name(certificate: x509.Certificate) -> tuple[bytes, int]:
    return certificate.issuer.public_bytes(), certificate.serial_number


def _check_attributes(
    signer: messages.Signer, certificate: x509.Certificate, content: bytes
) -> None:
    """RFC 5652 section 11, RFC 3161 section 2.4.2, RFC 5816 section 2.2.1."""
    attributes = signer.attributes.as_list()
    found = {each.type: [messages.value(v) for v in each.values.as_list()] for each in attributes}
    _require(len(found) == len(attributes), "an attribute stands there twice")

    kind, digest = found.get(_CONTENT_TYPE), found.get(_MESSAGE_DIGEST)
    _require(kind == [messages.write(TST_INFO)], "its signer did not sign the type of its content")
    expected = messages.write(_digest(_hash(signer.digest), content))
    _require(digest == [expected], "its signer signed another content")

    v1, v2 = found.get(_SIGNING_CERTIFICATE), found.get(_SIGNING_CERTIFICATE_V2)
    _require(v1 is not None or v2 is not None, "its signer did not sign which certificate is his")
    for values, check in ((v1, _is_named), (v2, _is_named_v2)):
        if values is not None:
            _require(
                len(values) == 1 and check(values[0], certificate),
                "its signer signed that another certificate is his",
            )


def _is_named(value: bytes, certificate: x509.Certificate) -> bool:
    signing = messages.read(messages.SigningCertificate, value, "the signer's certificate")
    # RFC 2634 section 5.4: the first is the signer's. To pass another one off takes a second
    # preimage of SHA-1, which nobody can make
    sha1 = hashes.SHA1()  # noqa: S303 (the digest that RFC 2634 has)
    return bool(signing.certificates) and (
        signing.certificates[0].digest == certificate.fingerprint(sha1)
        and _is_issued(signing.certificates[0].issuer, certificate)
    )


def _is_named_v2(value: bytes, certificate: x509.Certificate) -> bool:
    signing = messages.read(messages.SigningCertificateV2, value, "the signer's certificate")
    if not signing.certificates:
        return False
    first = signing.certificates[0]
    # RFC 5035 section 4: SHA-256 where no algorithm stands
    algorithm = SHA256() if first.algorithm is None else _hash(first.algorithm)
    return first.digest == certificate.fingerprint(algorithm) and _is_issued(
        first.issuer, certificate
    )


def _is_issued(issuer: messages.NamedIssuer | None, certificate: x509.Certificate) -> bool:
    if issuer is None:
        return True
    names = [bytes(name.data) for name in issuer.names]
    return names == [certificate.issuer.public_bytes()] and issuer.serial == _name(certificate)[1]


# --- steps 4 and 5 ----------------------------------------------------------------------------


def _check_purpose(certificate: x509.Certificate) -> None:
    """RFC 3161 section 2.3: time stamps, critical, and nothing else."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        raise StampInvalid("the certificate of its signer is not for time stamps") from error
    _require(
        usage.critical and list(usage.value) == [ExtendedKeyUsageOID.TIME_STAMPING],
        "the certificate of its signer is not for time stamps alone",
    )
    try:
        key = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    _require(
        key.digital_signature or key.content_commitment,
        "the certificate of its signer is not for signatures",
    )


def _check_signature(signer: messages.Signer, certificate: x509.Certificate) -> None:
    algorithm, digest = signer.algorithm.id, _hash(signer.digest)
    kind, own_digest = _SIGNATURES.get(algorithm, (None, None))
    if kind is None:
        raise StampInvalid(
            f"it is signed by the algorithm {algorithm.dotted_string}, which is unknown here"
        )
    _require(
        own_digest is None or isinstance(digest, own_digest),
        "its signer names two different digests",
    )
    message, key = messages.signed_bytes(signer.attributes), certificate.public_key()
    _require(isinstance(key, kind), "its signer's key is of another kind than the signature")
    if isinstance(key, rsa.RSAPublicKey):  # NIST SP 800-131A: below it is weak
        _require(key.key_size >= _MIN_RSA, "its signer's key is too short")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signer.signature, message, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signer.signature, message, ec.ECDSA(digest))
    except InvalidSignature as error:
        raise StampInvalid("the signature does not verify") from error


def _check_issuers(certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> None:
    """Each issued the signer's certificate, or one that did."""
    reached, waiting = [certificate], list(issuers)
    for below in reached:  # grows while it is gone through
        above = [each for each in waiting if _issued(each, below)]
        reached += above
        waiting = [each for each in waiting if each not in above]
    _require(not waiting, "it carries a certificate that has nothing to do with it")


def _issued(above: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


# --- step 6 -----------------------------------------------------------------------------------


def _may_issue(
    _policy: Policy, _certificate: x509.Certificate, is_ca: x509.BasicConstraints
) -> None:
    if not is_ca.ca:
        raise ValueError("an issuer that may issue no certificates")


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer whose key is not for certificates")


def _may_pass_on(
    _policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    """An issuer that is limited in what its certificates are for: to time stamps, too."""
    allowed = {ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and not allowed & set(usage):
        raise ValueError("an issuer for other things than time stamps")


_ISSUER: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _may_issue)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _may_pass_on)
)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise StampInvalid(otherwise)


def printable(text: str) -> str:
    """Anybody may have written it, and a terminal obeys some characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:_MAX_SHOWN])


def _short(error: Exception) -> str:
    """One line without the objects that some messages quote."""
    said = str(error).partition(" (encountered")[0].partition("\n")[0]
    return printable(said) or type(error).__name__
