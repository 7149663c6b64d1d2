"""
A report as OSCAL assessment results: for tools of governance, from the report's JSON alone.

Ids are derived, so that the same report gives the same bytes. OSCAL has two states for a finding,
and neither is "not tested" or "tested in part": such controls have no finding, and are named in the
remarks.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from muniment.evidence import moment

#: https://pages.nist.gov/OSCAL
OSCAL: Final = "1.2.1"
NAMESPACE: Final = "urn:muniment:oscal"
#: of version 5 UUIDs of ours
_IDS: Final = UUID("6f1c3a52-0f5e-5b7b-9d0e-3f6f7a1b2c4d")
_ODD: Final = re.compile(r"[^a-z0-9._-]+")
_STATES: Final = {"satisfied": "satisfied", "exceptions": "not-satisfied"}
_Value = Mapping[str, Any]


def assessment_results(value: _Value, digest: str) -> bytes:
    """The file. `digest` is the SHA-256 of `report.json`, in hex."""

    def id_of(*name: str) -> str:
        return str(uuid5(_IDS, "\0".join((digest, *name))))

    framework, period = value["framework"], value["period"]
    as_of = _moment(value["as_of"])
    result = {
        "uuid": id_of("result"),
        "title": f"{framework['title']}: what the evidence shows",
        "description": value["statement"],
        "start": _moment(period["from"]),
        "end": _end(period["to"]),
        "props": list(_props(value)),
        "reviewed-controls": {
            "control-selections": [
                {
                    "description": f"{framework['publication']}, {framework['publisher']}",
                    "include-controls": [
                        {"control-id": token(framework["id"], each["id"])}
                        for each in value["controls"]
                    ],
                }
            ]
        },
        "observations": [_observation(test, as_of, id_of) for test in value["tests"]],
        "findings": [
            _finding(framework["id"], each, id_of)
            for each in value["controls"]
            if each["state"] in _STATES
        ],
        "remarks": _remarks(value["controls"]),
    }
    if not result["findings"]:
        del result["findings"]
    attached = {"report.json": digest, **value["attached"]}
    whole = {
        "assessment-results": {
            "uuid": id_of("assessment-results"),
            "metadata": {
                "title": f"{framework['title']}, {period['from'][:10]} on",
                "last-modified": as_of,
                "version": digest,
                "oscal-version": OSCAL,
                "remarks": value["statement"],
            },
            "import-ap": {"href": f"#{id_of('resource', 'control_map.toml')}"},
            "results": [result],
            "back-matter": {
                "resources": [
                    {
                        "uuid": id_of("resource", name),
                        "title": name,
                        "rlinks": [
                            {
                                "href": f"./{name}",
                                "hashes": [{"algorithm": "SHA-256", "value": sha}],
                            }
                        ],
                    }
                    for name, sha in sorted(attached.items())
                ]
            },
        }
    }
    return (json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def token(framework: str, control: str) -> str:
    """An id as OSCAL wants it: letters first, no colons."""
    return f"{framework}_{_ODD.sub('-', control.lower())}"


def _remarks(controls: Sequence[_Value]) -> str:
    """Controls that have no finding: a state of OSCAL would say more of them than was tested."""
    none = [each["id"] for each in controls if each["state"] == "not-tested"]
    partly = [
        f"{each['id']} (nothing to test: {', '.join(each['untested'])})"
        for each in controls
        if each["state"] == "partly"
    ]
    return (
        f"Not tested: {', '.join(none) or 'none'}."
        f" Tested in part, without exception: {'; '.join(partly) or 'none'}."
    )


def _props(value: _Value) -> Iterator[dict[str, str]]:
    for name, said in (
        ("log-origin", value["log"]["origin"]),
        ("log-id", value["log"]["id"]),
        ("log-size", value["log"]["size"]),
        ("log-root", value["log"]["root"]),
        ("requests", value["population"]["requests"]),
        ("grants", value["population"]["grants"]),
    ):
        yield {"name": name, "ns": NAMESPACE, "value": str(said)}


def _observation(test: _Value, as_of: str, id_of: Any) -> dict[str, Any]:
    counts = ("tested", "passed", "exceptions", "not_applicable")
    counted = f"{test['tested']:,} {test['counts']} were tested, {test['passed']:,} passed"
    said = f"{test['title']}. {counted}."
    return {
        "uuid": id_of("observation", test["id"]),
        "title": test["id"],
        "description": f"{said} Not tested: {test['because']}." if test["because"] else said,
        "methods": ["TEST"],
        "props": [
            {"name": name.replace("_", "-"), "ns": NAMESPACE, "value": str(test[name])}
            for name in counts
        ],
        "relevant-evidence": [
            {
                "href": f"#{id_of('resource', 'log.excerpt.gz')}",
                "description": "every record of the period, with the signed root of the log",
            }
        ],
        "collected": as_of,
    }


def _finding(framework: str, control: _Value, id_of: Any) -> dict[str, Any]:
    remarks = "This says what the tests came to, and not that the control is met."
    if control["untested"]:
        remarks += f" These tests had nothing to test: {', '.join(control['untested'])}."
    return {
        "uuid": id_of("finding", control["id"]),
        "title": control["id"],
        "description": (
            f"Asks, in short: {control['words']}. The evidence covers: {control['covers']}."
            f" It cannot show: {control['cannot']}."
        ),
        "target": {
            "type": "objective-id",
            "target-id": token(framework, control["id"]),
            "status": {
                "state": _STATES[control["state"]],
                "remarks": remarks,
            },
        },
        "related-observations": [
            {"observation-uuid": id_of("observation", test)} for test in control["tests"]
        ],
    }


def _moment(at: str) -> str:
    return at.replace("Z", "+00:00")


def _end(stop: str) -> str:
    """The last second of the period."""
    return _moment(moment.text(moment.parse(stop) - timedelta(seconds=1)))
