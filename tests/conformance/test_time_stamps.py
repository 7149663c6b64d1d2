"""
Time stamps of a real authority, and other judges on them: `openssl ts`, and Trail of Bits' client.

What one of us accepts all accept, with the exceptions that are named here.
"""

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from openssl_tsa import OpenSSL, need_openssl

from muniment.errors import StampInvalid, Unavailable
from muniment.evidence import stamp_messages
from muniment.evidence.note import parse_note
from muniment.evidence.stamp import open_token, read_roots, verify
from muniment.evidence.store import Published, Stamp
from muniment.evidence.verdict import Reader, headline
from muniment.evidence.verify import verify as verify_bundle
from muniment.operations.stamp import Authority, ask
from muniment.runtime.outbound import CheckedOutbound, origin
from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.time_stamps import Issuer, TimeStampAuthority

pytestmark = [
    pytest.mark.deep,
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]

TEXT = b"muniment.example/log\n12\nrKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=\n"


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> OpenSSL:
    need_openssl()
    made = OpenSSL(tmp_path_factory.mktemp("tsa"))
    made.make_root()
    made.make_root("other")
    made.make_key()
    made.certify()
    made.certify("bare", "bare")
    return made


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 (the test is the outermost room)


def roots(tsa: OpenSSL, name: str = "root") -> tuple[x509.Certificate, ...]:
    return read_roots((tsa.folder / f"{name}.pem").read_bytes())


async def asked(tsa: OpenSSL, conf: str, text: bytes = TEXT, root: str | None = "root") -> bytes:
    with tsa.serve(conf) as url:
        authority = Authority(
            name="openssl", url=url, every=timedelta(hours=1),
            roots=() if root is None else roots(tsa, root), allow=frozenset((origin(url),)),
        )  # fmt: skip
        return (await ask(CheckedOutbound(), authority, text, now())).token


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize(
    "more", ["", "ess_cert_id_alg = sha256", "ess_cert_id_alg = sha1", "ess_cert_id_chain = yes"]
)
async def test_a_real_authority_is_asked_over_http_and_all_judges_agree(
    tsa: OpenSSL, digest: str, more: str
) -> None:
    token = await asked(tsa, tsa.write_conf(digest=digest, more=more))
    found = verify(token, TEXT, roots(tsa))
    assert found.authority == "O=Example,CN=Test TSA"
    assert abs(found.at - now()) < timedelta(minutes=1)
    assert tsa.accepts(token, TEXT, "root", int(found.at.timestamp()))


async def test_a_token_with_its_issuers_in_the_order_of_openssl_is_read(tsa: OpenSSL) -> None:
    token = await asked(tsa, tsa.write_conf(more=f"certs = {tsa.folder}/root.pem"))
    assert len(open_token(token, TEXT).issuers) == 1


@pytest.fixture(scope="module")
def elliptic(tmp_path_factory: pytest.TempPathFactory) -> OpenSSL:
    need_openssl()
    made = OpenSSL(tmp_path_factory.mktemp("elliptic"))
    made.make_root()
    made.make_key(("ec", "-pkeyopt", "ec_paramgen_curve:P-384"))
    made.certify()
    return made


async def test_an_authority_with_an_elliptic_key_is_no_different(elliptic: OpenSSL) -> None:
    token = await asked(elliptic, elliptic.write_conf(digest="sha384"))
    found = verify(token, TEXT, roots(elliptic))
    assert elliptic.accepts(token, TEXT, "root", int(found.at.timestamp()))


async def test_what_a_real_authority_refuses_is_unavailable(tsa: OpenSSL) -> None:
    conf = tsa.write_conf()
    narrow = (tsa.folder / conf).read_text().replace("digests = sha256, sha512", "digests = sha512")
    (tsa.folder / "narrow.cnf").write_text(narrow)
    with pytest.raises(Unavailable, match="refused, with status 2"):
        await asked(tsa, "narrow.cnf")


async def test_an_authority_of_another_root_is_not_believed_when_it_answers(tsa: OpenSSL) -> None:
    with pytest.raises(Unavailable, match="does not lead to your root"):
        await asked(tsa, tsa.write_conf(), root="other")


# --- after the certificate has expired ------------------------------------------------------------


def test_a_stamp_outlives_its_certificate_for_openssl_as_for_us(tsa: OpenSSL) -> None:
    """Of the authority in memory, whose certificate ended half a year ago: all judges agree."""
    today = now().replace(microsecond=0)
    then = today - timedelta(days=200)
    issuer = Issuer(name="Old Root", since=then - timedelta(days=9), until=then + timedelta(days=9))
    old = TimeStampAuthority(
        issuer=issuer, since=then - timedelta(days=1), until=then + timedelta(days=1)
    )
    (tsa.folder / "old.pem").write_bytes(issuer.pem)
    token = old.token(TEXT, then)
    assert verify(token, TEXT, [issuer.certificate]).at == then
    assert tsa.accepts(token, TEXT, "old", int(then.timestamp()))
    assert not tsa.accepts(token, TEXT, "old", int(today.timestamp())), "openssl asks about today"
    late = old.token(TEXT, then + timedelta(days=2))
    with pytest.raises(StampInvalid, match="does not lead to your root"):
        verify(late, TEXT, [issuer.certificate])
    assert not tsa.accepts(late, TEXT, "old", int((then + timedelta(days=2)).timestamp()))


# --- every tampering ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def token(tsa: OpenSSL) -> bytes:
    return stamped(tsa, TEXT)


def stamped(tsa: OpenSSL, text: bytes) -> bytes:
    query = stamp_messages.write(
        stamp_messages.Request(
            version=1, imprint=TimeStampAuthority().info(text, now()).imprint, nonce=7,
            certificate=True,
        )
    )  # fmt: skip
    answer = stamp_messages.read(
        stamp_messages.Response, tsa.reply(query, tsa.write_conf()), "the reply"
    )
    assert answer.token is not None
    return stamp_messages.write(answer.token)


def ours(token: bytes, text: bytes, trusted: tuple[x509.Certificate, ...]) -> bool:
    try:
        verify(token, text, trusted)
    except StampInvalid:
        return False
    return True


def test_openssl_refuses_whatever_we_refuse_and_the_other_way_round(
    tsa: OpenSSL, token: bytes
) -> None:
    at = int(verify(token, TEXT, roots(tsa)).at.timestamp())
    assert tsa.accepts(token, TEXT, "root", at)
    for text, root in ((TEXT + b"\n", "root"), (TEXT, "other"), (b"", "root")):
        assert not ours(token, text, roots(tsa, root))
        assert not tsa.accepts(token, text, root, at)
    for cut in (1, 40, len(token) // 2):
        assert not ours(token[:-cut], TEXT, roots(tsa))
        assert not tsa.accepts(token[:-cut], TEXT, "root", at)


def test_no_byte_of_a_real_token_can_be_changed(tsa: OpenSSL, token: bytes) -> None:
    """Ours refuses each; openssl forgives some that change nothing it looks at, and no more."""
    forgiven = []
    at = int(verify(token, TEXT, roots(tsa)).at.timestamp())
    for place in range(len(token)):
        changed = bytearray(token)
        changed[place] ^= 1
        assert not ours(bytes(changed), TEXT, roots(tsa)), place
        if place % 29 == 0 and tsa.accepts(bytes(changed), TEXT, "root", at):
            forgiven.append(place)
    assert len(forgiven) <= 3, forgiven


def test_a_signer_without_the_right_to_stamp_is_refused_by_both(tsa: OpenSSL) -> None:
    """Openssl itself will not stamp so; the token is one of the authority in memory."""
    bare = TimeStampAuthority(purpose=None)
    (tsa.folder / "bare-root.pem").write_bytes(bare.issuer.pem)
    at = datetime(2026, 6, 1, tzinfo=UTC)
    made = bare.token(TEXT, at)
    assert not ours(made, TEXT, read_roots(bare.issuer.pem))
    assert not tsa.accepts(made, TEXT, "bare-root", int(at.timestamp()))


def test_a_signed_attribute_of_another_digest_is_refused_by_both(tsa: OpenSSL) -> None:
    from cryptography.hazmat import asn1
    from cryptography.x509 import ObjectIdentifier

    def wrong(values: Any) -> Any:
        return {**values, ObjectIdentifier("1.2.840.113549.1.9.4"): asn1.encode_der(bytes(32))}

    authority = TimeStampAuthority()
    (tsa.folder / "memory.pem").write_bytes(authority.issuer.pem)
    at = datetime(2026, 6, 1, tzinfo=UTC)
    good, bad = authority.token(TEXT, at), authority.token(TEXT, at, changed=wrong)
    assert ours(good, TEXT, read_roots(authority.issuer.pem))
    assert tsa.accepts(good, TEXT, "memory", int(at.timestamp()))
    assert not ours(bad, TEXT, read_roots(authority.issuer.pem))
    assert not tsa.accepts(bad, TEXT, "memory", int(at.timestamp()))


@pytest.fixture
def client() -> Any:
    if find_spec("rfc3161_client") is None:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("rfc3161-client is not installed")
    import rfc3161_client

    return rfc3161_client


def test_a_second_foreign_client_agrees(client: Any, tsa: OpenSSL, token: bytes) -> None:
    reply = stamp_messages.write(
        stamp_messages.Response(
            status=stamp_messages.Status(status=0, text=None, failure=None),
            token=stamp_messages.read(stamp_messages.Token, token, "the token"),
        )
    )
    answer = client.decode_timestamp_response(reply)
    judge = client.VerifierBuilder().nonce(7).add_root_certificate(roots(tsa)[0]).build()
    assert judge.verify_message(answer, TEXT)
    with pytest.raises(client.VerificationError):
        judge.verify_message(client.decode_timestamp_response(reply), TEXT + b"\n")


# --- in a bundle ----------------------------------------------------------------------------------


def test_a_bundle_carries_a_real_time_stamp_that_openssl_takes_out_and_accepts(
    tsa: OpenSSL, tmp_path: Path
) -> None:
    written = WrittenLog(tmp_path)

    def publish(_size: int) -> None:
        note = written.log.checkpoint
        token = stamped(tsa, parse_note(note)[0].encode())
        written.store.publish(Published(written.log.size, note, (Stamp("openssl", token),)))

    data = written.export(WrittenCase(written).whole().id, publish=publish)
    proved = verify_bundle(data, written.key.verifier, reader=Reader(roots=roots(tsa)))
    assert headline(proved.verdict, proved.vouched).startswith("UNANCHORED, TIME-STAMPED 20")
    value = json.loads(data)
    signed = value["checkpoint"].partition("\n\n")[0].encode() + b"\n"
    taken_out = base64.b64decode(value["stamps"][0])
    assert tsa.accepts(taken_out, signed, "root", int(now().timestamp()))
    written.close()
