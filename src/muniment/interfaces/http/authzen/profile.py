"""Words of the two texts that more than one of the modules beside needs."""

from datetime import timedelta

from fastapi import Request

from muniment.interfaces.http.binding import Binding
from muniment.interfaces.http.problems import ProfileProblem

#: of the Access Request and Approval Profile: the day of the text that this follows
DRAFT = "2026-06-11"
CAPABILITY = "urn:openid:authzen:capability:access-request"
PREFIX = "urn:openid:authzen:access-request:error:"
#: ARAP section 14
PROBLEMS = {
    "not_requestable": 400,
    "expired_denial": 410,
    "invalid_denial_binding": 400,
    "duplicate_request": 409,
    "unknown_task": 404,
    "task_expired": 410,
    "invalid_task_state": 409,
}
#: how long a denial may be turned into a request
FRESH = timedelta(minutes=15)
#: ARAP section 11: how long to wait between two looks at a task, or two evaluations
POLL_SECONDS = 2


def problem(name: str, detail: str) -> ProfileProblem:
    return ProfileProblem(PREFIX + name, PROBLEMS[name], detail)


def base_url(http: Request) -> str:
    """Where clients reach us: the identifier of this decision point, too."""
    configured = http.app.state.opened.settings.server.public_url
    return (configured or str(http.base_url)).rstrip("/")


def binding(http: Request) -> Binding:
    """One for the application, made when it is first needed."""
    state = http.app.state
    if not hasattr(state, "binding"):
        state.binding = Binding(state.opened.service.sealing_key)
    made: Binding = state.binding
    return made
