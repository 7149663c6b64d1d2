"""RFC 3161 time stamps: one that holds, and every way in which one does not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

from muniment.errors import StampInvalid
from muniment.evidence import stamp, stamp_messages
from muniment.evidence.stamp import MAX_TOKEN, open_token, read_roots, verify
from muniment.testing.time_stamps import Issuer, TimeStampAuthority

TEXT = b"muniment.example/log\n12\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n"
AT = datetime(2026, 6, 1, 12, 0, 0, 250_000, tzinfo=UTC)

CONTENT_TYPE = ObjectIdentifier("1.2.840.113549.1.9.3")
MESSAGE_DIGEST = ObjectIdentifier("1.2.840.113549.1.9.4")
SIGNING_CERTIFICATE = ObjectIdentifier("1.2.840.113549.1.9.16.2.12")
SIGNING_CERTIFICATE_V2 = ObjectIdentifier("1.2.840.113549.1.9.16.2.47")


@pytest.fixture(scope="module")
def authority() -> TimeStampAuthority:
    return TimeStampAuthority()


def roots(authority: TimeStampAuthority) -> tuple[Any, ...]:
    return read_roots(authority.issuer.pem)


def refused(authority: TimeStampAuthority, token: bytes, text: bytes = TEXT) -> str:
    with pytest.raises(StampInvalid) as caught:
        verify(token, text, roots(authority))
    return str(caught.value)


def test_a_token_says_when_a_text_existed_and_who_says_so(authority: TimeStampAuthority) -> None:
    found = verify(authority.token(TEXT, AT, 77), TEXT, roots(authority))
    assert (found.at, found.nonce) == (AT, 77)
    assert found.authority == "CN=Example Time Stamps"
    assert found.policy == "1.3.6.1.4.1.57264.2"


def test_whoever_stamps_has_a_name_that_a_terminal_can_be_shown() -> None:
    odd = TimeStampAuthority(name="Example\x1b[2J" + "x" * 50)
    found = open_token(odd.token(TEXT, AT), TEXT)
    assert found.authority == "CN=Example?[2J" + "x" * 50


def test_it_existed_before_the_stated_time_with_all_its_inaccuracy(
    authority: TimeStampAuthority,
) -> None:
    found = open_token(authority.token(TEXT, AT), TEXT)
    assert found.accuracy == timedelta(seconds=1)
    assert found.before == datetime(2026, 6, 1, 12, 0, 2, tzinfo=UTC)


def test_it_still_holds_after_the_certificate_has_expired() -> None:
    short = TimeStampAuthority(until=AT + timedelta(hours=1))
    assert verify(short.token(TEXT, AT), TEXT, roots(short)).at == AT


@pytest.mark.parametrize(
    "at",
    [datetime(2025, 12, 31, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC)],
    ids=["before the certificate", "after it"],
)
def test_a_time_at_which_the_certificate_was_not_valid_is_refused(
    authority: TimeStampAuthority, at: datetime
) -> None:
    assert "does not lead to your root at" in refused(authority, authority.token(TEXT, at))


def test_another_text_is_refused(authority: TimeStampAuthority) -> None:
    assert "another text" in refused(authority, authority.token(TEXT, AT), TEXT + b"x\n")


def test_another_root_is_refused_even_of_the_same_name(authority: TimeStampAuthority) -> None:
    token = authority.token(TEXT, AT)
    for other in (Issuer(name="Somebody"), Issuer(name="Example Root")):
        with pytest.raises(StampInvalid, match="does not lead to your root"):
            verify(token, TEXT, [other.certificate])
    with pytest.raises(StampInvalid, match="no root was given"):
        verify(token, TEXT, [])


# --- who may stamp --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "purpose",
    [
        {"purpose": None},
        {"purpose": (ExtendedKeyUsageOID.CODE_SIGNING,)},
        {"purpose": (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)},
        {"critical": False},
    ],
    ids=["none", "another", "two", "not critical"],
)
def test_a_certificate_that_is_not_for_time_stamps_alone_is_refused(purpose: Any) -> None:
    odd = TimeStampAuthority(**purpose)
    assert "not for time stamps" in refused(odd, odd.token(TEXT, AT))


def test_issuers_that_the_token_carries_lead_to_the_root() -> None:
    root = Issuer(name="Example Root")
    middle = Issuer(name="Example Issuer", above=root)
    bare = TimeStampAuthority(issuer=middle)
    with pytest.raises(StampInvalid, match="does not lead to your root"):
        verify(bare.token(TEXT, AT), TEXT, [root.certificate])
    full = replace(bare, carries=(middle,))
    assert len(verify(full.token(TEXT, AT), TEXT, [root.certificate]).issuers) == 1
    whole = replace(bare, carries=(root, middle))
    assert verify(whole.token(TEXT, AT), TEXT, [root.certificate]).at == AT


@pytest.mark.parametrize(
    "middle",
    [{"is_ca": False}, {"until": datetime(2026, 3, 1, tzinfo=UTC)}],
    ids=["issues without the right", "had expired by then"],
)
def test_an_issuer_who_may_not_issue_leads_to_no_root(middle: Any) -> None:
    root = Issuer(name="Example Root")
    between = Issuer(name="Example Issuer", above=root, **middle)
    authority = TimeStampAuthority(issuer=between, carries=(between,))
    with pytest.raises(StampInvalid, match="does not lead to your root"):
        verify(authority.token(TEXT, AT), TEXT, [root.certificate])


def test_a_path_longer_than_its_issuer_allows_is_refused() -> None:
    root = Issuer(name="Example Root")
    first = Issuer(name="First", above=root, path_length=0)
    second = Issuer(name="Second", above=first)
    authority = TimeStampAuthority(issuer=second, carries=(second, first))
    with pytest.raises(StampInvalid, match="does not lead to your root"):
        verify(authority.token(TEXT, AT), TEXT, [root.certificate])


def test_a_certificate_that_has_nothing_to_do_with_it_is_refused(
    authority: TimeStampAuthority,
) -> None:
    stranger = replace(authority, carries=(Issuer(name="Somebody"),))
    token = stranger.token(TEXT, AT)
    with pytest.raises(StampInvalid, match="nothing to do with it"):
        open_token(token, TEXT)


# --- what the signer signed -----------------------------------------------------------------------


def without(type: ObjectIdentifier) -> Callable[[Any], Any]:
    return lambda values: {name: value for name, value in values.items() if name != type}


def instead(type: ObjectIdentifier, value: bytes) -> Callable[[Any], Any]:
    return lambda values: {**values, type: value}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (without(CONTENT_TYPE), "did not sign the type"),
        (instead(CONTENT_TYPE, stamp_messages.write(stamp.SIGNED_DATA)), "did not sign the type"),
        (without(MESSAGE_DIGEST), "signed another content"),
        (instead(MESSAGE_DIGEST, asn1.encode_der(sha256(b"").digest())), "signed another content"),
        (without(SIGNING_CERTIFICATE_V2), "did not sign which certificate"),
    ],
)
def test_signed_attributes_say_what_was_signed_and_by_whom(
    authority: TimeStampAuthority, changed: Callable[[Any], Any], said: str
) -> None:
    assert said in refused(authority, authority.token(TEXT, AT, changed=changed))


def test_a_signer_who_signed_for_another_certificate_is_refused(
    authority: TimeStampAuthority,
) -> None:
    other = TimeStampAuthority(issuer=authority.issuer)
    twin = stamp_messages.write(
        stamp_messages.SigningCertificateV2(
            certificates=[
                stamp_messages.CertificateIdV2(
                    algorithm=None,
                    digest=sha256(der(other)).digest(),
                    issuer=None,
                )
            ],
            policies=None,
        )
    )
    token = authority.token(TEXT, AT, changed=instead(SIGNING_CERTIFICATE_V2, twin))
    assert "another certificate is his" in refused(authority, token)


def der(authority: TimeStampAuthority) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return authority.certificate.public_bytes(Encoding.DER)


def test_the_older_attribute_that_names_the_certificate_by_sha_1_will_do(
    authority: TimeStampAuthority,
) -> None:
    from hashlib import sha1

    def older(digest: bytes) -> Callable[[Any], Any]:
        named = stamp_messages.SigningCertificate(
            certificates=[stamp_messages.CertificateId(digest=digest, issuer=None)], policies=None
        )
        return lambda values: {
            **without(SIGNING_CERTIFICATE_V2)(values),
            SIGNING_CERTIFICATE: stamp_messages.write(named),
        }

    good = authority.token(TEXT, AT, changed=older(sha1(der(authority)).digest()))
    assert verify(good, TEXT, roots(authority)).at == AT
    bad = authority.token(TEXT, AT, changed=older(bytes(20)))
    assert "another certificate is his" in refused(authority, bad)


def test_another_signature_is_refused(authority: TimeStampAuthority) -> None:
    other = TimeStampAuthority(issuer=authority.issuer)
    other.certificate = authority.certificate  # whose key is another
    assert "the signature does not verify" in refused(authority, other.token(TEXT, AT))


# --- what a time stamp looks like -----------------------------------------------------------------


def info(authority: TimeStampAuthority, **changes: Any) -> bytes:
    made = authority.info(TEXT, AT)
    for name, value in changes.items():
        setattr(made, name, value)
    return authority.seal(stamp_messages.write(made))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "of a version"),
        ({"at": asn1.GeneralizedTime(datetime(9999, 12, 31, tzinfo=UTC))}, "last year"),
        (
            {"accuracy": stamp_messages.Accuracy(seconds=86_401, millis=None, micros=None)},
            "out of range",
        ),
        (
            {"accuracy": stamp_messages.Accuracy(seconds=None, millis=1000, micros=None)},
            "out of range",
        ),
        (
            {
                "extensions": [
                    stamp_messages.Extension(id=ObjectIdentifier("1.2.3"), critical=True, value=b"")
                ]
            },
            "critical extension",
        ),
    ],
)
def test_what_is_not_understood_is_refused(
    authority: TimeStampAuthority, changes: dict[str, Any], said: str
) -> None:
    assert said in refused(authority, info(authority, **changes))


def test_an_accuracy_left_out_is_none(authority: TimeStampAuthority) -> None:
    assert open_token(info(authority, accuracy=None), TEXT).accuracy == timedelta()


def test_a_digest_that_is_not_one_used_is_refused(authority: TimeStampAuthority) -> None:
    sha1 = stamp_messages.Algorithm(id=ObjectIdentifier("1.3.14.3.2.26"), parameters=None)
    imprint = stamp_messages.Imprint(algorithm=sha1, digest=bytes(20))
    assert "1.3.14.3.2.26" in refused(authority, info(authority, imprint=imprint))


def test_what_is_no_time_stamp_is_refused(authority: TimeStampAuthority) -> None:
    token = authority.token(TEXT, AT)
    for data in (b"", b"0", token[:-1], token + b"\0", token[1:], b"\x30\x80" + token[4:]):
        assert "cannot be read" in refused(authority, data)
    assert "too long" in refused(authority, bytes(MAX_TOKEN + 1))
    assert "cannot be read" in refused(authority, authority.seal(b"no info at all"))


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_changing_any_one_byte_of_a_token_fails_without_knowing_its_root(
    authority: TimeStampAuthority,
) -> None:
    token = authority.token(TEXT, AT, 5)
    for place in range(len(token)):
        for bit in (1, 0x80):
            changed = bytearray(token)
            changed[place] ^= bit
            with pytest.raises(StampInvalid):
                open_token(bytes(changed), TEXT)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_of_a_token_with_its_issuer_any_one_byte_counts_against_the_root() -> None:
    root = Issuer(name="Example Root")
    middle = Issuer(name="Example Issuer", above=root)
    authority = TimeStampAuthority(issuer=middle, carries=(middle,))
    token = authority.token(TEXT, AT)
    for place in range(0, len(token), 3):
        changed = bytearray(token)
        changed[place] ^= 1
        with pytest.raises(StampInvalid):
            verify(bytes(changed), TEXT, [root.certificate])


def test_a_file_without_certificates_holds_no_root() -> None:
    with pytest.raises(StampInvalid, match="no PEM file"):
        read_roots(b"-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(StampInvalid, match="no PEM file"):
        read_roots(b"")
