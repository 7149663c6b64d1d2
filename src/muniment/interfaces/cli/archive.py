"""
`muniment evidence export --period`: the evidence of a whole period as one folder.

Whatever came is verified before it is kept. A run that was broken off goes on where it was: what is
there and holds is not asked for again. Its pages are made from the bundles on disk alone.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from muniment.access.archive import Listed
from muniment.errors import Conflict, LogInvalid, Malformed, NotPermitted, Refused, Unavailable
from muniment.evidence import moment
from muniment.evidence.note import VerifierKey
from muniment.interfaces.cli.api import Api
from muniment.interfaces.verifier import folder as places
from muniment.interfaces.verifier import pages, rows, single_file, told
from muniment.interfaces.verifier.folder import Opened
from muniment.interfaces.verifier.outcome import examine
from muniment.interfaces.verifier.readme import missing, readme
from muniment.interfaces.verifier.rows import Row
from muniment.stores.backup import private_folder

#: what a run that was broken off left behind to go on from
TAKING: Final = ".taking.json"
#: bundles of one request
_TOGETHER: Final = 50
_SUFFIX: Final = ".part"

#: is told what is being done, and how many of how many are
Progress = Callable[[str, int, int], None]


@dataclass(kw_only=True)
class Taking:
    """One archive on its way to disk."""

    api: Api
    folder: Path
    since: datetime
    until: datetime
    resources: tuple[str, ...]
    heads: Sequence[str] = ()
    progress: Progress = lambda _what, _done, _total: None
    #: what could not be had, and why
    notes: list[str] = field(default_factory=list)

    def take(self) -> Opened:
        """All of it. Safe to repeat until it returns."""
        answer = self._begin()
        key = VerifierKey.parse(self.api.text("/v1/log/key").strip())
        opened = self._archive(answer["archive"], key)
        if len(opened.listed) > places.MAX_CASES:
            raise Malformed(
                f"one folder has room for {places.MAX_CASES:,} cases: shorten the period"
            )
        # files are named after them, and nothing but the list was proved
        if not {each.case for each in opened.listed}.issuperset(answer["observed"]):
            raise LogInvalid("the service names events of cases that are not in the archive")
        self._events(answer["observed"])
        found = self._cases(opened, key)
        self._log(answer["archive"])
        self._finish(opened, found)
        (self.folder / TAKING).unlink()
        return opened

    def _begin(self) -> dict[str, Any]:
        """A new archive, or the one whose taking was broken off."""
        wanted = {
            "url": self.api.url,
            "since": moment.text(self.since),
            "until": moment.text(self.until),
            "resources": list(self.resources),
        }
        marker = self.folder / TAKING
        if marker.is_file():
            begun: dict[str, Any] = json.loads(marker.read_text("utf-8"))
            if begun["wanted"] != wanted:
                raise Conflict(f"`{self.folder}` has the beginning of another archive")
            answer: dict[str, Any] = begun["answer"]
            return answer
        if self.folder.exists() and any(self.folder.iterdir()):
            raise Conflict(f"`{self.folder}` is not empty; choose another folder")
        private_folder(self.folder)
        body = {name: value for name, value in wanted.items() if name != "url"}
        answer = self.api.post("/v1/archives", body)
        self._write(TAKING, json.dumps({"wanted": wanted, "answer": answer}).encode())
        return answer

    def _archive(self, case: str, key: VerifierKey) -> Opened:
        place = self.folder / places.ARCHIVE
        if not place.is_file():
            body = {"heads": list(self.heads)}
            self._write(
                places.ARCHIVE, self.api.post_for_bytes(f"/v1/archives/{case}/evidence", body)
            )
        return places.open_archive(self.folder, key)

    # --- cases ---------------------------------------------------------------------------------

    def _cases(self, opened: Opened, key: VerifierKey) -> dict[str, Row]:
        found: dict[str, Row] = {}
        missing: list[Listed] = []
        for listed in opened.listed:
            if (row := self._row(listed, key)) is not None:
                found[listed.case] = row
            else:
                missing.append(listed)
        for start in range(0, len(missing), _TOGETHER):
            together = missing[start : start + _TOGETHER]
            asked = {"cases": [listed.case for listed in together]}
            lines = self.api.lines("/v1/evidence/bundles", asked)
            # what broke off between two lines shows as a bundle that is missing, below
            for listed, line in zip(together, lines, strict=False):
                self._write(pages.bundle_path(listed.case), line)
                row = self._row(listed, key)
                if row is None:
                    raise LogInvalid(f"the bundle of `{listed.case}` that came does not hold")
                found[listed.case] = row
                self.progress("cases", len(found), len(opened.listed))
        if len(found) < len(opened.listed):
            raise Unavailable(f"not all bundles came from {self.api.url}; ask again")
        return found

    def _row(self, listed: Listed, key: VerifierKey) -> Row | None:
        """The line of a case whose bundle is there and holds; its page is made. None: it is not."""
        place = self.folder / pages.bundle_path(listed.case)
        if not place.is_file():
            return None
        checked = examine(place, key, ()).checked
        if checked is None or checked.proved.case_id != listed.case:
            return None
        if not listed.goes_on_in([entry.leaf for entry in checked.proved.case]):
            return None
        case = told.tell(checked)
        events = (self.folder / pages.events_path(listed.case)).is_file()
        self._write(pages.case_path(listed.case), pages.case_page(case, events=events))
        return Row.of(case)

    # --- events and the log --------------------------------------------------------------------

    def _events(self, observed: Sequence[str]) -> None:
        for number, case in enumerate(observed, start=1):
            if not (self.folder / pages.events_path(case)).is_file():
                try:
                    answer = self.api.file("/v1/evidence/events", case=case)
                except Refused as error:
                    self.notes.append(f"the events of {case} are not here: {error}")
                else:
                    self._write(pages.events_path(case), answer.content)
            self.progress("events", number, len(observed))

    def _log(self, case: str) -> None:
        place = self.folder / places.EXCERPT
        if place.is_file():
            return
        private_folder(place.parent)
        part = place.with_name(place.name + _SUFFIX)
        try:
            with part.open("wb") as file:
                part.chmod(0o600)
                for done, piece in enumerate(self.api.pieces(f"/v1/archives/{case}/log")):
                    file.write(piece)
                    self.progress("log", done, 0)
        except NotPermitted:
            part.unlink()
            place.parent.rmdir()
            self.notes.append("the log itself is not here: whoever took this may not audit it")
            return
        part.rename(place)

    # --- what follows from it ------------------------------------------------------------------

    def _finish(self, opened: Opened, found: dict[str, Row]) -> None:
        ordered = sorted(found.values(), key=lambda row: (row.opened, row.case))
        verifier = single_file.build()
        made = {
            **opened.made(),
            **pages.list_pages(opened.cover, ordered),
            pages.STYLE: pages.CSS.encode(),
            "cases.csv": rows.as_csv(ordered),
            "people.csv": rows.people_csv(ordered, told.tell(opened.checked).names),
            places.VERIFIER: verifier,
            places.README: readme(
                opened.cover,
                single_file.digest(verifier),
                missing(ordered, set(places.paths_in(self.folder))),
            ),
        }
        for path, data in made.items():
            self._write(path, data)
        self._write(places.MANIFEST, places.manifest(opened.cover, dict(self._files())))
        self._write(
            places.SUMS, places.sums({path: name for path, (name, _) in self._files(also=True)})
        )

    def _files(self, *, also: bool = False) -> Iterator[tuple[str, tuple[str, int]]]:
        """What there is, with digest and size; `also` the manifest."""
        left = {TAKING, places.SUMS, *(() if also else (places.MANIFEST,))}
        for path in places.paths_in(self.folder):
            if path not in left:
                size = (self.folder / path).stat().st_size
                yield path, (places.digest_in(self.folder, path), size)

    def _write(self, path: str, data: bytes) -> None:
        """All of a file or none of it, for its owner alone."""
        place = self.folder / path
        private_folder(place.parent)
        part = place.with_name(place.name + _SUFFIX)
        part.touch(mode=0o600)
        part.write_bytes(data)
        part.rename(place)
