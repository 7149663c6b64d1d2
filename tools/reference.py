"""
Write `docs/reference/` from the code: nothing in it is typed by hand.

    python tools/reference.py --check     says which page is stale, and exits 1
    python tools/reference.py --write     writes them

A setting, a record kind, a command, an annotation, a route or an error class that is added to the
code stands in its page after `--write`; `tests/docs/test_reference.py` fails until then. What a
page says of a thing is that thing's own docstring, help text or `#:` comment.
"""

# ruff: noqa: INP001 - a script beside the package, not a package

import argparse
import ast
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any

import click

from muniment import errors
from muniment.access import check, lifecycle, records, window
from muniment.connectors.postgresql import settings as postgresql
from muniment.evidence import record as envelope
from muniment.evidence import verdict, verify
from muniment.interfaces.cli import main as cli
from muniment.interfaces.cli.backup import STAYS_REFUSED
from muniment.interfaces.http import problems
from muniment.interfaces.http.app import ROUTED
from muniment.interfaces.http.authzen import profile
from muniment.policy import bundle, obligations, questions, starter
from muniment.runtime import settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "muniment"
_BAR = r"\|"
_NOTICE = "<!-- Written by `python tools/reference.py --write`. Change the code, not this page. -->"


# --- reading the code -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FieldText:
    """One field of a class, as its author wrote it."""

    name: str
    #: the annotation's source
    type: str
    #: the `#:` comment above it
    meaning: str


def fields_of(cls: type) -> tuple[FieldText, ...]:
    """The fields of a class in the order of its source, without those it inherits."""
    module = sys.modules[cls.__module__]
    lines = inspect.getsource(module).splitlines()
    body = next(
        node.body
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    )
    return tuple(
        FieldText(
            name=node.target.id, type=ast.unparse(node.annotation), meaning=_above(lines, node)
        )
        for node in body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "ClassVar" not in ast.unparse(node.annotation)
    )


def _above(lines: list[str], node: ast.stmt) -> str:
    """The `#:` lines that stand directly above a statement."""
    found: list[str] = []
    at = node.lineno - 2
    while at >= 0 and lines[at].strip().startswith("#:"):
        found.insert(0, lines[at].strip().removeprefix("#:").strip())
        at -= 1
    return " ".join(found)


def said(thing: object) -> str:
    """The docstring as one paragraph."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def beside(module: ModuleType, name: str) -> dict[str, str]:
    """The comments at the end of the lines of a tuple of strings."""
    lines = inspect.getsource(module).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}"))
    found = {}
    for line in lines[start + 1 :]:
        if line.startswith(")"):
            break
        value, _, comment = line.partition("#")
        found[str(ast.literal_eval(value.strip().rstrip(",")))] = comment.strip()
    return found


# --- writing pages ----------------------------------------------------------------------------


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(' '.join(cell.replace('|', _BAR).split()) for cell in row)} |"
    yield ""


def code(value: str) -> str:
    return f"`{value}`" if value else ""


# --- settings.md ------------------------------------------------------------------------------

_TYPES: Mapping[str, str] = {
    "Length": "length of time",
    "Size": "size",
    "Path": "path",
    "Name": "name",
    "_Name": "name",
    "_Address": "text",
    "_Bucket": "name",
    "_Campaign": "name",
    "_ClassName": "name",
    "_KeyPrefix": "text",
    "Reference": "reference",
    "Prefix": "name",
    "str": "text",
    "bool": "true or false",
    "int": "number",
    "time": "time of day",
    "date": "day",
    "Annotated[str, AfterValidator(_zone)]": "time zone",
    "tuple[time, time]": "two times of day",
    "tuple[int, ...]": "numbers",
    "tuple[Name, ...]": "names",
    "list[str]": "texts",
    "tuple[str, ...]": "texts",
    "tuple[_Kind, ...]": "names",
    "tuple[_Trigger, ...]": "texts",
    "list[_Name]": "names",
    "dict[Name, dict[str, Any]]": "tables",
    "dict[_ClassName, ClassSection]": "tables",
}


def settings_page() -> Iterator[str]:
    yield "# Settings: `muniment.toml`"
    yield ""
    yield _NOTICE
    yield ""
    yield "Paths are relative to the file. Unknown keys are refused with a hint. Secrets stand here"
    yield "by reference only: `env:NAME` or `file:PATH`. Files propose, the log decides: a change"
    yield "holds once the service has taken it in, at start, on `muniment reload` or on SIGHUP."
    yield ""
    yield "A *length of time* is written `90s`, `30m`, `1h30m` or `2d`; a *size* `64MiB` (KiB, MiB,"
    yield "GiB); a *name* in lower-case letters, digits, `.`, `_` and `-`."
    yield ""
    for name, place, model in _sections():
        yield from _section("##", place, model)
        for inner, field in model.model_fields.items():
            if (tables := _tables(field.annotation)) is not None:
                yield from _section("###", f"{place.rstrip(']')}.{inner}.NAME]", tables)
        if name == "resources":
            yield from _postgresql()


def _section(mark: str, place: str, model: Any) -> Iterator[str]:
    yield f"{mark} `{place}`"
    yield ""
    yield said(model)
    yield ""
    yield from _settings_table(model)


def _tables(annotation: Any) -> Any | None:
    """What each table looks like, where tables by a name are what is taken; else None."""
    if getattr(annotation, "__origin__", None) is not dict:
        return None
    model = annotation.__args__[1]
    return model if hasattr(model, "model_fields") else None


def _sections() -> Iterator[tuple[str, str, Any]]:
    for name, field in settings.Settings.model_fields.items():
        annotation: Any = field.annotation
        if isinstance(annotation, UnionType):  # a section that may be left out
            annotation = annotation.__args__[0]
        origin = getattr(annotation, "__origin__", None)
        if origin is dict:
            yield name, f"[{name}.NAME]", annotation.__args__[1]
        elif origin is tuple:
            yield name, f"[[{name}]]", annotation.__args__[0]
        else:
            yield name, f"[{name}]", annotation


def _settings_table(model: Any) -> Iterator[str]:
    texts = {text.name: text for text in fields_of(model)}
    yield from table(
        ("key", "what it takes", "unless set", "meaning"),
        (
            (
                code(name),
                _takes(texts[name].type),
                _default(field),
                texts[name].meaning or field.description or "",
            )
            for name, field in model.model_fields.items()
        ),
    )


def _takes(annotation: str) -> str:
    plain = annotation.removesuffix(" | None")
    if plain.startswith("Literal["):
        return " or ".join(code(str(each)) for each in ast.literal_eval(f"({plain[8:-1]},)"))
    return _TYPES.get(plain, code(plain))


def _default(field: Any) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is None:
        return "not set"
    return code(_toml(value)) if value not in ("", ()) else "empty"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return json.dumps(window.text(int(value.total_seconds())))
        case time():
            return value.isoformat()
        case int():
            return f'"{value >> 20}MiB"' if value and value % (1 << 20) == 0 else str(value)
        case tuple():
            return f"[{', '.join(_toml(each) for each in value)}]"
        case _:
            return json.dumps(str(value))


def _postgresql() -> Iterator[str]:
    yield '### Of a resource with `connector = "postgresql"`'
    yield ""
    yield "Besides what every resource has:"
    yield ""
    yield from _settings_table(postgresql.Settings)
    yield "### Of a role there: `[resources.NAME.roles.ROLE]`"
    yield ""
    yield from _settings_table(postgresql.RoleDefinition)


# --- records.md -------------------------------------------------------------------------------


def records_page() -> Iterator[str]:
    yield "# Records"
    yield ""
    yield _NOTICE
    yield ""
    yield from _record_intro()
    yield from _envelope()
    yield "## Kinds"
    yield ""
    writers = _writers()
    yield from table(
        ("kind", "meaning", "written by"),
        (
            (f"[`{kind}`](#{_anchor(kind)})", said(cls), ", ".join(writers[cls.__name__]))
            for kind, cls in records.KINDS.items()
        ),
    )
    for kind, cls in records.KINDS.items():
        yield from _kind(kind, cls)
    yield from _values()
    yield from _transitions()


def _record_intro() -> Iterator[str]:
    yield "A log entry is the canonical JSON of one record's *header*: the envelope below around"
    yield "the kind's own `body`. Its leaf hash is `SHA-256(0x00 || header)`; the bytes in a bundle"
    yield "and in the database are exactly these."
    yield ""
    yield f"Format {envelope.FORMAT}, fold version {records.FOLD}; a header has at most"
    yield f"{envelope.MAX_HEADER:,} bytes, a section and a document at most"
    yield f"{envelope.MAX_SECTION:,}. Hashes are written in lower-case hex, moments as"
    yield "`2026-11-21T10:00:00.000Z`. Headers hold no personal data; what is personal or large"
    yield "lies in *sections*, of which the header holds a salted commitment only."
    yield ""


_ENVELOPE: Mapping[str, str] = {
    "format": "version of this envelope",
    "kind": "what happened: `subject:event`",
    "fold": "version of the tables by which the record is to be folded",
    "id": "`<case>/<position>`; positions count from 0 without a gap",
    "at": "when it was decided, or its effect had returned",
    "observed": "only where `at` had to be later to keep the case's order: the clock's own reading",
    "prev": "leaf hash of the case's record before; null at position 0",
    "follows": "leaf hashes of records in other cases on which this one rests",
    "body": "the kind's own fields, as below",
    "sections": "commitment to each sealed section, by its name",
    "documents": "SHA-256 of each document that the body names; they lie unsealed beside the log",
}


def _envelope() -> Iterator[str]:
    known = {*envelope._FIELDS, "observed"}  # noqa: SLF001 (so that a new field is missed here)
    if known != set(_ENVELOPE):
        raise SystemExit(f"the envelope has other fields than this page: {known ^ set(_ENVELOPE)}")
    yield "## The envelope"
    yield ""
    yield from table(("field", "meaning"), ((code(k), v) for k, v in _ENVELOPE.items()))


def _kind(kind: str, cls: type[records.Record]) -> Iterator[str]:
    yield f"### `{kind}`"
    yield ""
    yield said(cls)
    yield ""
    yield from _fields_table((*fields_of(records.Record), *fields_of(cls)))
    if cls.SECTIONS:
        yield f"Sections: {', '.join(code(name) for name in cls.SECTIONS)}."
        yield ""


def _fields_table(fields: Iterable[FieldText]) -> Iterator[str]:
    yield from table(
        ("field", "type", "meaning"),
        ((code(f.name), code(f.type.replace("bytes", "hex")), f.meaning) for f in fields),
    )


def _values() -> Iterator[str]:
    yield "## Values inside"
    yield ""
    for cls in (records.Actor, records.Capabilities, records.EndpointView):
        yield f"### {cls.__name__}"
        yield ""
        yield said(cls)
        yield ""
        yield from _fields_table(fields_of(cls))


def _transitions() -> Iterator[str]:
    yield "## What can follow what"
    yield ""
    yield "The table by which an access case is folded. A record that is not here is not possible;"
    yield "invariants beyond it stand in `access/lifecycle.py`, one function for each kind."
    yield ""
    kinds: dict[str, list[str]] = {}
    for state, kind in lifecycle.TRANSITIONS:
        kinds.setdefault(state, []).append(kind)
    yield from table(
        ("in the state", "can follow"),
        ((state or "(none)", ", ".join(map(code, follow))) for state, follow in kinds.items()),
    )


def _writers() -> dict[str, list[str]]:
    """Record class → modules whose code makes one."""
    found: dict[str, list[str]] = {cls.__name__: [] for cls in records.KINDS.values()}
    for path in sorted([*SOURCE.glob("operations/*.py"), *SOURCE.glob("runtime/*.py")]):
        text = path.read_text("utf-8")
        made = {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call)
        }
        for name, places in found.items():
            if name in made:
                places.append(code(path.relative_to(SOURCE).as_posix()))
    return found


def _anchor(heading: str) -> str:
    return "".join(c for c in heading.lower() if c.isalnum() or c in "_- ").replace(" ", "-")


# --- commands.md ------------------------------------------------------------------------------


def commands_page() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield _NOTICE
    yield ""
    yield "Commands that ask the service read its address from `MUNIMENT_URL` (else"
    yield "`http://127.0.0.1:8417`) and the token from `MUNIMENT_TOKEN`, else from the file that"
    yield "`MUNIMENT_TOKEN_FILE` names, else from the session that `login` opened there. Any"
    yield "unique beginning of a case id will do. Exit codes are"
    yield "on the page about [errors](errors.md); `run` has that of its command."
    yield ""
    context = click.Context(cli.muniment, info_name="muniment")
    found = list(_commands(cli.muniment, context))
    for section in dict.fromkeys(section for _, section in cli.COMMANDS.values()):
        yield f"## {section}"
        yield ""
        yield from table(
            ("command", "what it does"),
            (
                (f"[`{_usage(ctx)}`](#{_anchor(ctx.command_path)})", _help(command))
                for command, ctx in found
                if cli.COMMANDS[ctx.command_path.split()[1]][1] == section and _does(command)
            ),
        )
    yield "## Options and arguments"
    yield ""
    for command, ctx in found:
        if _does(command):
            yield from _command(command, ctx)


def _does(command: click.Command) -> bool:
    return not isinstance(command, click.Group) or command.invoke_without_command


def _commands(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        yield command, inner
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _usage(context: click.Context) -> str:
    pieces = (p for p in context.command.collect_usage_pieces(context) if p != "[OPTIONS]")
    shown = [p for p in pieces if not p.startswith("[COMMAND]") and p != "[ARGS]..."]
    return " ".join([context.command_path.removeprefix("muniment "), *shown])


def _help(command: click.Command) -> str:
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"### {context.command_path}"
    yield ""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    for paragraph in paragraphs:
        if paragraph.startswith("\b"):
            yield from ("```text", *paragraph.removeprefix("\b").strip("\n").splitlines(), "```")
        else:
            yield " ".join(paragraph.split())
        yield ""
    options = [
        each for each in command.params if isinstance(each, click.Option) and not each.hidden
    ]
    rows = [record for each in options if (record := each.get_help_record(context)) is not None]
    if rows:
        yield from table(("option", "meaning"), ((code(name), meaning) for name, meaning in rows))


# --- policy.md --------------------------------------------------------------------------------


def policy_page() -> Iterator[str]:
    yield "# Policy: questions, annotations, operations"
    yield ""
    yield _NOTICE
    yield ""
    yield from _annotations()
    yield "## Operations"
    yield ""
    yield "What `operate` is asked about, in `context.operation`:"
    yield ""
    yield from table(
        ("operation", "meaning"),
        ((code(name), text) for name, text in beside(questions, "OPERATIONS").items()),
    )
    yield "## The starter rules"
    yield ""
    yield "What `muniment init` writes, to be edited:"
    yield ""
    loaded = bundle.load(starter.files())
    yield from table(
        ("rule", "effect", "answers", "title", "place"),
        (
            (
                code(rule.id),
                rule.effect,
                ", ".join(sorted(rule.questions)),
                rule.title,
                rule.place,
            )
            for rule in loaded.rules
        ),
    )


_ANNOTATION_MEANING: Mapping[str, tuple[str, str]] = {
    "id": ("its name in decisions; required, and unique in the bundle", "forbid.inactive"),
    "title": ("one sentence for people", "Nobody approves for himself"),
    "approvals": (
        'groups, and how many of each have to approve; or "none". Per group the highest count wins',
        "sre-leads:1, dba:2",
    ),
    "max_duration": ("the longest window, in hours and minutes. The shortest wins", "PT1H30M"),
    "require": ("what has to happen besides. All of them are united", "post-review:PT24H"),
    "notify": ("who is to be told. All of them are united", "sre-leads"),
}


def _annotations() -> Iterator[str]:
    if set(_ANNOTATION_MEANING) != set(obligations.ANNOTATIONS):
        raise SystemExit("an annotation is missing in tools/reference.py, or too many")
    yield "## Annotations"
    yield ""
    yield "The vocabulary is closed: any other annotation is refused when the bundle is loaded."
    yield ""
    yield from table(
        ("annotation", "on rules that answer", "meaning", "for example"),
        (
            (
                code(f"@{name}"),
                ", ".join(sorted(obligations.CARRIERS.get(name, ["any question"]))),
                _ANNOTATION_MEANING[name][0],
                code(f'@{name}("{_ANNOTATION_MEANING[name][1]}")'),
            )
            for name in sorted(obligations.ANNOTATIONS)
        ),
    )


# --- errors.md --------------------------------------------------------------------------------


def errors_page() -> Iterator[str]:
    yield "# Errors, exit codes, status codes, verdicts"
    yield ""
    yield _NOTICE
    yield ""
    yield from _error_tables()
    yield "## What `verify` checks, and what it can say"
    yield ""
    steps = {**verify.STEPS, **check.STEPS, **check.MORE_STEPS}
    yield from table(("step", "establishes"), ((str(n), text) for n, text in steps.items()))
    yield from table(
        ("grade", "what it proves"), ((code(name), text) for name, text in verdict.PROVES.items())
    )


_EXITS: Mapping[int, str] = {
    0: "done; or, of a check, it holds",
    cli.REFUSED: "refused, denied, or does not hold",
    cli.USAGE: "what was typed or written in a file cannot be understood",
    cli.UNREACHABLE: "the service, the log or a target did not answer; may be retried",
    STAYS_REFUSED: "of `restore`: it is back, and may not go on: its head is not known, or older",
}


def _error_tables() -> Iterator[str]:
    yield "A denial, an unmet rule and a person's refusal are *results*: they are recorded, and are"
    yield "no errors. Errors are answered as RFC 9457 problem documents with the type"
    yield "`urn:muniment:error:<name>`; on the command line the message goes to standard error."
    yield ""
    yield from table(
        ("exit code", "meaning"), ((str(number), text) for number, text in _EXITS.items())
    )
    classes = [cls for cls in _tree(errors.MunimentError) if cls is not errors.MunimentError]
    yield from table(
        ("error", "is one of", "says by default", "HTTP", "exit"),
        (
            (
                code(cls.__name__),
                cls.__mro__[1].__name__,
                said(cls),
                _status(cls),
                str(cli.exit_code(cls.__new__(cls))),
            )
            for cls in classes
        ),
    )
    yield "The access request profile of AuthZEN has problem types of its own, with the prefix"
    yield f"`{profile.PREFIX}`:"
    yield ""
    yield from table(
        ("type", "HTTP"),
        ((code(name), str(number)) for name, number in profile.PROBLEMS.items()),
    )


def _tree(cls: type[errors.MunimentError]) -> Iterator[type[errors.MunimentError]]:
    yield cls
    for each in cls.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from _tree(each)


def _status(cls: type[errors.MunimentError]) -> str:
    number = next((code for known, code in problems.STATUS if issubclass(cls, known)), 500)
    broken = issubclass(cls, errors.EvidenceError) and not issubclass(cls, errors.NotCanonical)
    return "503" if broken else str(number)


# --- http.md ----------------------------------------------------------------------------------


def http_page() -> Iterator[str]:
    yield "# HTTP"
    yield ""
    yield _NOTICE
    yield ""
    yield "Send `Authorization: Bearer <token>`; only `/healthz`, `/readyz`, `/metrics`,"
    yield "`/openapi.json` and the AuthZEN metadata need none. The service describes bodies and"
    yield "answers itself, as OpenAPI 3.1 at `/openapi.json`; the pages at the end of this one take"
    yield "a browser's cookie instead of a token. Unknown fields are ignored under"
    yield "`/access/v1` and refused under `/v1`."
    yield "Case ids may be shortened to a unique beginning under `/v1/cases`."
    yield ""
    for module in ROUTED:
        yield f"## {_title(module)}"
        yield ""
        yield from table(
            ("route", "what it does"),
            (
                (
                    code(f"{'/'.join(sorted(route.methods))} {route.path}"),
                    _does_what(route.endpoint),
                )
                for route in _routes(module)
            ),
        )


def _routes(module: ModuleType) -> Iterable[Any]:
    parts = getattr(module, "PARTS", (module.router,))  # a package has several
    return [route for part in parts for route in part.routes]


def _does_what(endpoint: Callable[..., Any]) -> str:
    return said(endpoint) or endpoint.__name__.replace("_", " ")


def _title(module: ModuleType) -> str:
    return said(module).removesuffix(".").replace("`", "").partition(":")[0].strip() or "Routes"


# --- all of it --------------------------------------------------------------------------------

PAGES: Mapping[str, Callable[[], Iterator[str]]] = {
    "commands.md": commands_page,
    "errors.md": errors_page,
    "http.md": http_page,
    "policy.md": policy_page,
    "records.md": records_page,
    "settings.md": settings_page,
}


def pages() -> dict[str, str]:
    """Every page by its name, as it should stand in `docs/reference/`."""
    return {name: "\n".join(page()).rstrip() + "\n" for name, page in PAGES.items()}


#: pages that stand beside the generated ones, and have a test of their own
BY_HAND = ("authzen.md", "tamper-matrix.md")


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of pages that are missing, differ from the code, or belong to nothing."""
    wanted = pages()
    found = (path for path in folder.glob("*.md") if path.name not in BY_HAND)
    there = {path.name: path.read_text("utf-8") for path in found}
    return sorted(name for name in wanted.keys() | there if wanted.get(name) != there.get(name))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the pages")
    what.add_argument("--check", action="store_true", help="exit 1 if one is stale")
    if parser.parse_args(arguments).write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in pages().items():
            (FOLDER / name).write_text(text, "utf-8")
    for name in (found := stale()):
        sys.stderr.write(f"stale: docs/reference/{name}; python tools/reference.py --write\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
