"""
README.txt of an archive: what lies where, how to check it, and what that does not prove.

It is made again by whoever checks: nobody can write another key, or another command, into it.
"""

from collections.abc import Container, Iterable, Iterator
from typing import Final

from muniment import __version__
from muniment.interfaces.verifier.folder import EXCERPT
from muniment.interfaces.verifier.needed import HOW, NEEDED
from muniment.interfaces.verifier.pages import OF_RESOURCES, Cover, events_path
from muniment.interfaces.verifier.rows import Row

_TEXT: Final = """\
EVIDENCE OF {origin}
{since} to {until} (UTC), {resources}

{cases} cases{beyond}. Taken by {taken_by} at {taken_at}, which the log has recorded
as {archive}.

WHAT YOU NEED
Python 3.11 or newer with {needed}; nothing of Muniment. What a
system brings along is often older. This makes a Python that has it, to be called v/bin/python:
    {how}
And, from somebody whom you trust and not from this folder: the public key of the log, called KEY
below. If you know witnesses of this log, their policy file, called WITNESSES (otherwise leave that
option out).

CHECK IT
    sha256sum -c --quiet SHA256SUMS
    python3 muniment-verify.pyz verify . --log-key KEY --witnesses WITNESSES

THE VERIFIER
    {verifier}  muniment-verify.pyz  (version {version})
This line proves nothing: whoever changed the program could have changed the line. Compare the
digest with the one that is published with the release of this version, or build the file yourself:
`muniment evidence verifier -o muniment-verify.pyz` gives the same bytes for the same version.

WHAT LIES WHERE
    index.html         start here: what the bundles say, for reading; no scripts, no network
    cases.csv          the same list for a spreadsheet
    people.csv         who is behind the pseudonyms, as far as the reader may know
    archive.json       the bundle of this archive: its list of cases and the policies, proved
    cases/ID.json      the bundle of each case, complete in itself
    events/ID.json     what sources said of the case, unchanged, with proof
    policy/DIGEST/     each bundle of policies that was in force, as plain files;
                       `sha256sum policy/DIGEST/MANIFEST` begins with DIGEST
    keys/              what the log itself says of its keys and witnesses: compare, do not believe
    log/excerpt.gz     every entry of the log in this period, with proof that none is left out
    manifest.json      what this is, for programs
    SHA256SUMS         digest of every file but itself

LOOK
    python3 muniment-verify.pyz index . --log-key KEY             a line for each case
    python3 muniment-verify.pyz show cases/ID.json --log-key KEY  one case, record by record
    python3 muniment-verify.pyz events events/ID.json --log-key KEY
    python3 muniment-verify.pyz log log/excerpt.gz --log-key KEY  entry by entry
Twenty questions that auditors ask, each with the command that answers it, are in docs/auditor.md of
Muniment.

WHAT THIS DOES NOT PROVE
That decisions follow from the policy: no policy is replayed here (`muniment replay` does it). That
sources told the truth. That the log shows everybody the same history, unless your witnesses
cosigned it. That a case which was open then went on as it should. What was withheld or erased is
called so.
{notes}"""


def readme(cover: Cover, verifier: str, notes: Iterable[str]) -> bytes:
    """`verifier` is the SHA-256 of the program that lies there, `notes` what `missing` says."""
    beyond = f", and {cover.beyond:,} more that the reader may not see" if cover.beyond else ""
    notes = [*([OF_RESOURCES] if cover.resources else []), *notes]
    said = "".join(f"\nNOTE: {note}\n" for note in notes)
    return _TEXT.format(
        origin=cover.origin,
        since=cover.since,
        until=cover.until,
        resources=f"resources {', '.join(cover.resources)}" if cover.resources else "all resources",
        cases=f"{cover.cases:,}",
        beyond=beyond,
        taken_by=cover.taken_by,
        taken_at=cover.taken_at,
        archive=cover.archive,
        verifier=verifier,
        version=__version__,
        needed=NEEDED,
        how=HOW,
        notes=said,
    ).encode()


def missing(rows: Iterable[Row], here: Container[str]) -> Iterator[str]:
    """What could not be had: as it follows from what is here, so that a check says the same."""
    if EXCERPT not in here:
        yield "the log itself is not here: whoever took this may not audit it"
    for row in rows:
        if row.sessions and events_path(row.case) not in here:
            yield f"the events of {row.case} are not here, though it had sessions"
