"""Those who vouch for a log from outside, in memory: witnesses, and a time-stamp authority."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from muniment.evidence.note import CosigningKey, VerifierKey, parse_note
from muniment.evidence.store import Published, Stamp
from muniment.evidence.verdict import Reader
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.testing.cases import WrittenLog
from muniment.testing.time_stamps import TimeStampAuthority

#: when witnesses cosign and the authority stamps, unless a test says otherwise
AT = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def policy_text(witnesses: Sequence[VerifierKey], quorum: int) -> str:
    """A C2SP tlog-policy of which any `quorum` witnesses are enough."""
    lines = [f"witness w{number} {key.vkey}" for number, key in enumerate(witnesses)]
    members = " ".join(f"w{number}" for number in range(len(witnesses)))
    return "\n".join([*lines, f"group all-of-them {quorum} {members}", "quorum all-of-them", ""])


@dataclass
class Vouchers:
    """Three witnesses, of which two are a quorum, and an authority."""

    witnesses: list[CosigningKey] = field(
        default_factory=lambda: [
            CosigningKey.generate(f"witness.example/{name}") for name in ("one", "two", "three")
        ]
    )
    authority: TimeStampAuthority = field(default_factory=TimeStampAuthority)

    @property
    def policy(self) -> str:
        return policy_text([each.verifier for each in self.witnesses], 2)

    @property
    def reader(self) -> Reader:
        """Somebody who trusts all of them."""
        return Reader(
            policy=WitnessPolicy.parse(self.policy),
            roots=(self.authority.issuer.certificate,),
        )

    def publish(
        self, written: WrittenLog, by: Sequence[int] = (0, 1), *, stamped: bool = True
    ) -> Published:
        """The newest checkpoint, cosigned by the witnesses of these numbers."""
        note = written.log.checkpoint
        text, _ = parse_note(note)
        at = int(AT.timestamp())
        lines = "".join(self.witnesses[number].cosign(text, at).line for number in by)
        token = self.authority.token(text.encode(), AT)
        stamps = (Stamp("example", token),) if stamped else ()
        published = Published(written.log.size, note + lines.encode(), stamps)
        written.store.publish(published)
        return published

    def export(
        self,
        written: WrittenLog,
        case: str,
        by: Sequence[int] = (0, 1),
        *,
        stamped: bool = True,
        sizes: Sequence[int] = (),
    ) -> bytes:
        """A bundle under a checkpoint that these vouch for."""
        return written.export(
            case,
            sizes=sizes,
            witness_policy=self.policy.encode(),
            publish=lambda _size: void(self.publish(written, by, stamped=stamped)),
        )


def void(_published: Published) -> None:
    """For whoever does not ask what was published."""
