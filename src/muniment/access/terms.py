"""The terms hash: what an approver approves, and what may not change afterwards."""

from base64 import b32encode
from hashlib import sha256

from muniment.access.records import AccessRequested, ExtensionRequested
from muniment.evidence import canonical
from muniment.evidence.record import Header

_DOMAIN = b"muniment-terms/v1\0"


def request_terms(log_id: bytes, header: Header, request: AccessRequested) -> bytes:
    """
    Over header fields and section commitments only, and the log id: still to be computed after
    the sections were erased, and without meaning in any other log.
    """
    return _hash(
        log_id,
        {
            "id": header.id,
            "requester": request.requester,
            "persons": list(request.actor.persons),
            "resource": request.resource,
            "role": request.role,
            "definition": request.definition.hex(),
            "seconds": request.seconds,
            "emergency": request.emergency,
            "sections": {name: sealed.hex() for name, sealed in header.sections.items()},
        },
    )


def extension_terms(
    log_id: bytes, header: Header, extension: ExtensionRequested, before: bytes
) -> bytes:
    """Bound to the terms that it extends."""
    return _hash(
        log_id,
        {
            "id": header.id,
            "extends": before.hex(),
            "seconds": extension.seconds,
            "sections": {name: sealed.hex() for name, sealed in header.sections.items()},
        },
    )


def short_code(terms: bytes) -> str:
    """
    The first 40 bits of a terms hash, for people to compare: `ABCD-EFGH`.

    Enough to tell apart what two screens show; whoever has to be certain compares the whole hash.
    """
    letters = b32encode(terms).decode()[:8]
    return f"{letters[:4]}-{letters[4:]}"


def _hash(log_id: bytes, terms: dict[str, object]) -> bytes:
    return sha256(_DOMAIN + log_id + canonical.encode(terms)).digest()
