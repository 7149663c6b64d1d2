"""
Every error that Muniment raises. The class docstring is the default message.

A denial, an unmet rule and a person's refusal are *results*: they are recorded, not raised.

    MunimentError
    ├── EvidenceError            the data does not hold
    │   ├── NotCanonical           bytes are not the one form that a value has
    │   ├── NoteInvalid            a signed note cannot be read, or a known key's signature fails
    │   ├── ProofInvalid           a Merkle proof does not lead where it claims
    │   ├── StampInvalid           a time stamp cannot be read, or does not say what it should
    │   ├── BundleInvalid          an evidence bundle fails a numbered step
    │   ├── LogInvalid             the log contradicts itself or its head store
    │   └── FoldInvalid            records do not form a possible life of a case
    ├── Refused                  the caller may not, or not now
    │   ├── Unauthenticated        no valid token
    │   ├── NotPermitted           the policy's `operate` question says no
    │   ├── NotFound               nothing of that name that the caller may see
    │   ├── Conflict               the state does not allow it, or the answer was given before
    │   └── TooMany                above the quota of this principal
    ├── Malformed                what was sent cannot be understood
    │   ├── ConfigInvalid          a configuration file does not hold
    │   ├── PolicyInvalid          a policy bundle does not load
    │   ├── AddressRefused         a URL leads where we do not call
    │   └── Unreadable             a record of a source of events is not of its kind
    └── Unavailable              the world did not answer; may be retried
        ├── LogUnavailable         the log cannot be written: nothing is granted
        ├── Stale                  a decision was made on heads that have moved; evaluate again
        ├── ClockUnsteady          the wall clock moved: nothing is granted until somebody vouches
        ├── DiskFull               below the reserve only ends and outcomes may append
        ├── TargetUnavailable      a target did not answer, or answered that it cannot
        └── OrderLate              a target answered that our order came after its deadline
"""


class MunimentError(Exception):
    """something went wrong"""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


class EvidenceError(MunimentError):
    """the data does not hold"""


class NotCanonical(EvidenceError):
    """these bytes are not the canonical form of a value"""


class NoteInvalid(EvidenceError):
    """the signed note does not verify"""


class ProofInvalid(EvidenceError):
    """the Merkle proof does not verify"""


class StampInvalid(EvidenceError):
    """the time stamp does not verify"""


class BundleInvalid(EvidenceError):
    """
    the evidence bundle does not verify

    `step` is the number of the verification step that failed.
    """

    def __init__(self, step: int, message: str) -> None:
        self.step = step
        super().__init__(f"step {step}: {message}")


class LogInvalid(EvidenceError):
    """the log contradicts itself"""


class FoldInvalid(EvidenceError):
    """the records do not form a possible life of a case"""


class Refused(MunimentError):
    """you may not do this"""


class Unauthenticated(Refused):
    """no valid token was sent"""


class NotPermitted(Refused):
    """the policy does not permit this"""


class NotFound(Refused):
    """nothing of that name is visible to you"""


class Conflict(Refused):
    """the state of the case does not allow this"""


class TooMany(Refused):
    """too many requests; try again later"""


class Malformed(MunimentError):
    """what was sent cannot be understood"""


class ConfigInvalid(Malformed):
    """the configuration does not hold"""


class PolicyInvalid(Malformed):
    """the policy bundle does not load"""


class Unreadable(Malformed):
    """a record of a source of events is not of its kind"""


class AddressRefused(Malformed):
    """the URL leads to an address that is not called"""


class Unavailable(MunimentError):
    """the service cannot do this at the moment"""


class LogUnavailable(Unavailable):
    """the log cannot be written, so nothing is granted"""


class Stale(Unavailable):
    """the decision read a state that has moved on"""


class ClockUnsteady(Unavailable):
    """the wall clock moved; nothing is granted until an operator records `clock:stepped`"""


class DiskFull(Unavailable):
    """free disk space is below the reserve; only ends and outcomes may append"""


class TargetUnavailable(Unavailable):
    """the target did not answer"""


class OrderLate(Unavailable):
    """the order reached its target after its deadline, and the target did nothing"""
