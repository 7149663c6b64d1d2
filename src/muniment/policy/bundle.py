"""
A policy bundle: a schema and rules, loaded only if every one of them holds.

All that is wrong is reported at once, one line each: `file:line: id: message`. The steps:

1. paths and sizes; 2. the guard; 3. the schema; 4. each rule: syntax, annotations, types;
5. ids, approver groups; 6. a trial of every question, so that a schema that does not accept the
facts which Muniment states fails here and does not deny everything later.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any

from muniment.errors import PolicyInvalid
from muniment.policy import engine, guard, obligations, source, trial
from muniment.policy.questions import QUESTIONS

SCHEMA = "schema.cedarschema"

# `sha256sum` escapes odd names, and then its output is no longer what we would hash
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
# no colon: `muniment:…` are the invariants in code
_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)
_TITLE_MOST = 200
_ENDINGS = (".cedar", ".cedarschema")
#: bundles that were loaded last: what is taken in is asked for right away
_KEPT = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    id: str
    title: str
    file: str
    line: int
    #: from its first annotation to its semicolon, as the author wrote it
    text: str
    #: of the text, hex
    sha256: str
    #: `permit` or `forbid`
    effect: str
    #: the questions that it takes part in
    questions: frozenset[str]
    demands: obligations.Demands

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """Rules ready to be asked. Immutable; threads may share it."""

    files: Mapping[str, bytes] = field(repr=False)
    #: what `sha256sum` prints over the sorted files
    manifest: bytes = field(repr=False)
    #: SHA-256 of the manifest, hex
    digest: str
    rules: tuple[Rule, ...] = field(repr=False)
    by_id: Mapping[str, Rule] = field(repr=False)
    #: group names that rules compare with; the validator cannot know whether they exist
    groups: frozenset[str] = field(repr=False)
    schema: engine.Schema = field(repr=False)
    #: question → the rules that take part in it
    slices: Mapping[str, engine.Slice] = field(repr=False)
    #: its schema has the moments of a case; to one from before they are not stated
    dates_cases: bool


def load(files: Mapping[str, bytes], *, groups: Collection[str] | None = None) -> Bundle:
    """
    Load `schema.cedarschema` and every `*.cedar`; other files are no part of a bundle.

    `groups` are those that exist: approvers must be among them. None skips this (offline replay).
    Raises `PolicyInvalid`, whose message has one line for each thing that is wrong. The same bytes
    give the same bundle again.
    """
    given = tuple((path, bytes(files[path])) for path in sorted(files) if path.endswith(_ENDINGS))
    try:
        bundle = _loaded(given)
    except PolicyInvalid:
        if groups is None:
            raise
    else:
        approvers = {name for rule in bundle.rules for name in rule.demands.approvals or ()}
        if groups is None or approvers <= set(groups):
            return bundle
    return _Loading(dict(given), groups).finish()  # it fails, and says all that is wrong at once


@lru_cache(maxsize=_KEPT)
def _loaded(files: tuple[tuple[str, bytes], ...]) -> Bundle:
    """Whatever groups there are. What is refused is not kept."""
    return _Loading(dict(files), None).finish()


def manifest(files: Mapping[str, bytes]) -> bytes:
    """What `sha256sum` prints over these files, sorted by path as with `LC_ALL=C`."""
    return b"".join(
        f"{sha256(data).hexdigest()}  {path}\n".encode() for path, data in sorted(files.items())
    )


class _Loading:
    """One attempt to load: collects what is wrong on the way."""

    def __init__(self, files: Mapping[str, bytes], groups: Collection[str] | None) -> None:
        self.files = files
        self.groups = groups
        self.problems: list[str] = []
        self.rules: dict[str, Rule] = {}
        self.parsed: dict[str, dict[str, Any]] = {}
        self.schema: engine.Schema | None = None
        self.schema_text = ""

    def finish(self) -> Bundle:
        self._check_files()
        self._read_schema()
        for file in self.files:
            if file.endswith(".cedar"):
                self._read_rules(file)
        self._check_count()
        if self.schema is None or self.problems:
            raise PolicyInvalid("\n".join(self.problems))
        bundle = self._bundle(self.schema)
        if reasons := trial.refusals(bundle.schema, bundle.slices, self.schema_text):
            raise PolicyInvalid("\n".join(f"{SCHEMA}:1: {reason}" for reason in reasons))
        return bundle

    def _bundle(self, schema: engine.Schema) -> Bundle:
        listed = manifest(self.files)
        slices = {
            question: engine.slice_of(
                {id: self.parsed[id] for id in self.rules if question in self._asked(id)}
            )
            for question in QUESTIONS
        }
        return Bundle(
            files=self.files,
            manifest=listed,
            digest=sha256(listed).hexdigest(),
            rules=tuple(self.rules.values()),
            by_id=self.rules,
            groups=frozenset(name for rule in self.parsed.values() for name in _groups(rule)),
            schema=schema,
            slices=slices,
            dates_cases=trial.dates_cases(schema, slices),
        )

    def _asked(self, id: str) -> frozenset[str]:
        return self.rules[id].questions

    def _say(self, file: str, line: int, message: str, id: str | None = None) -> None:
        self.problems.append(
            f"{file}:{line}: {id}: {message}" if id else f"{file}:{line}: {message}"
        )

    def _check_files(self) -> None:
        """Step 1. Nothing is read further if the sizes or names do not hold."""
        for path, data in self.files.items():
            if not _PATH.fullmatch(path):
                self._say(f"{path!a}", 1, "a path may hold letters, digits, `.`, `_`, `-` and `/`")
            elif len(data) > guard.MAX_FILE:
                self._say(path, 1, f"larger than {guard.MAX_FILE} bytes")
            if path.endswith(".cedarschema") and path != SCHEMA:
                self._say(f"{path!a}", 1, f"the one schema of a bundle is `{SCHEMA}`")
        if sum(map(len, self.files.values())) > guard.MAX_BUNDLE:
            self._say(SCHEMA, 1, f"the bundle is larger than {guard.MAX_BUNDLE} bytes")
        if SCHEMA not in self.files:
            self._say(SCHEMA, 1, "missing")
        if self.problems:
            raise PolicyInvalid("\n".join(self.problems))

    def _read_schema(self) -> None:
        """Steps 2 and 3. Rules are still read if it fails, but not checked against it."""
        try:
            text = source.decode(SCHEMA, self.files[SCHEMA])
            tokens = source.tokens(SCHEMA, text)
        except PolicyInvalid as error:
            self.problems.append(str(error))
            return
        if trouble := guard.schema_trouble(tokens):
            self._say(SCHEMA, *trouble)
            return
        self.schema_text = text
        try:
            self.schema = engine.schema(text)
        except ValueError as error:
            self._say(SCHEMA, 1, _one_line(error))

    def _read_rules(self, file: str) -> None:
        try:
            passages = source.passages(file, source.decode(file, self.files[file]))
        except PolicyInvalid as error:
            self.problems.append(str(error))
            return
        for passage in passages:
            if trouble := guard.rule_trouble(passage.tokens):
                self._say(file, *trouble)
            else:
                self._read_rule(passage)

    def _read_rule(self, passage: source.Passage) -> None:
        """Steps 4 and 5 for one rule that passed the guard."""
        try:
            parsed = engine.rule_json(passage.text)
        except ValueError as error:
            message = _one_line(error)
            self._say(passage.file, _error_line(passage, str(error)), message)
            return
        if guard.depth(parsed) > guard.MAX_DEPTH:
            self._say(passage.file, passage.line, "nested too deep; use a set for a long list")
            return
        rule = self._rule(passage, parsed)
        if rule is not None:
            self.rules[rule.id] = rule
            self.parsed[rule.id] = parsed

    def _rule(self, passage: source.Passage, parsed: Mapping[str, Any]) -> Rule | None:
        annotations = {name: value or "" for name, value in parsed.get("annotations", {}).items()}
        questions = _questions(parsed["action"])
        id = annotations.get("id", "")
        known = len(self.problems)
        self._check_id(passage, id)
        self._check_annotations(passage, annotations, questions, parsed["effect"])
        demands = self._demands(passage, annotations)
        if self.schema is not None:
            for reason in engine.type_errors(passage.text, self.schema):
                self._say(passage.file, passage.line, reason, id)
        if demands is None or len(self.problems) > known:
            return None
        return Rule(
            id=id,
            title=annotations.get("title", ""),
            file=passage.file,
            line=passage.line,
            text=passage.text,
            sha256=sha256(passage.text.encode()).hexdigest(),
            effect=parsed["effect"],
            questions=questions,
            demands=demands,
        )

    def _check_id(self, passage: source.Passage, id: str) -> None:
        if not id:
            self._say(passage.file, passage.line, "a rule without @id")
        elif not _ID.fullmatch(id):
            self._say(
                passage.file,
                passage.line,
                "@id takes a letter, then at most 63 letters, digits, dots, hyphens, underscores",
            )
        elif id in self.rules:
            earlier = self.rules[id].place
            self._say(passage.file, passage.line, f"@id '{id}' already used at {earlier}")

    def _check_annotations(
        self,
        passage: source.Passage,
        annotations: Mapping[str, str],
        questions: frozenset[str],
        effect: str,
    ) -> None:
        known = ", ".join(obligations.ANNOTATIONS)
        for name in sorted(annotations):
            carriers = obligations.CARRIERS.get(name)
            if name not in obligations.ANNOTATIONS:
                message = f"unknown annotation @{name} (known: {known})"
                self._say(passage.file, passage.line, message)
            elif carriers and (effect == "forbid" or not questions <= carriers):
                asked = " and ".join(f"`{question}`" for question in sorted(carriers))
                message = f"@{name} has an effect only on permits for {asked}"
                self._say(passage.file, passage.line, message)
        title = annotations.get("title", "")
        if not title.isprintable() or len(title) > _TITLE_MOST:
            self._say(
                passage.file, passage.line, f"@title takes one line of {_TITLE_MOST} characters"
            )

    def _demands(
        self, passage: source.Passage, annotations: Mapping[str, str]
    ) -> obligations.Demands | None:
        try:
            demands = obligations.parse(annotations)
        except PolicyInvalid as error:
            self._say(passage.file, passage.line, str(error))
            return None
        for group in sorted(demands.approvals or ()):
            if self.groups is not None and group not in self.groups:
                message = f"@approvals names unknown group '{group}'"
                self._say(passage.file, passage.line, message)
        return demands

    def _check_count(self) -> None:
        if len(self.rules) > guard.MAX_RULES:
            self._say(SCHEMA, 1, f"more than {guard.MAX_RULES} rules")
        if not self.rules and not self.problems:
            self._say(SCHEMA, 1, "a bundle without rules, which denies everything")


def _questions(action: Mapping[str, Any]) -> frozenset[str]:
    """From a rule's scope; whatever is not plainly one of our actions is asked everywhere."""
    named = action.get("entities") or [action.get("entity", {})]
    ids = {uid.get("id") for uid in named if uid.get("type") == "Muniment::Action"}
    exact = len(ids) == len(named) and ids <= set(QUESTIONS)
    return frozenset(str(id) for id in ids) if exact else frozenset(QUESTIONS)


def _groups(parsed: object) -> Iterator[str]:
    # NOTE: safe to recurse, as `guard.depth` bounds it
    if isinstance(parsed, dict):
        if parsed.get("type") == "Muniment::Group" and isinstance(parsed.get("id"), str):
            yield parsed["id"]
        for child in parsed.values():
            yield from _groups(child)
    elif isinstance(parsed, list):
        for child in parsed:
            yield from _groups(child)


def _error_line(passage: source.Passage, message: str) -> int:
    """Cedar gives no place: find the shortest beginning of the rule with the same error."""
    low, high = 1, len(passage.tokens)
    while low < high:
        middle = (low + high) // 2
        if _error(passage.until(middle)) == message:
            high = middle
        else:
            low = middle + 1
    # only the whole rule has it: an error of meaning, which has no single place
    return passage.line if low == len(passage.tokens) else passage.tokens[low - 1].line


def _error(text: str) -> str:
    try:
        engine.rule_json(text)
    except ValueError as error:
        return str(error)
    return ""


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())
