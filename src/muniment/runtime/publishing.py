"""From the settings to whom the log is shown: witnesses, time-stamp authorities, mirrors."""

from dataclasses import replace
from pathlib import Path

from muniment.operations.publishing import CopyRules, Publishing
from muniment.oversight.siem import Cursors
from muniment.runtime.forwarding import read_forwarding
from muniment.runtime.mirrors import read_mirrors
from muniment.runtime.settings import Settings
from muniment.runtime.stamps import read_authorities
from muniment.runtime.witnesses import read_witnesses


def read_publishing(
    settings: Settings,
    folder: Path,
    before: Publishing | None = None,
    cursors: Cursors | None = None,
) -> Publishing:
    """
    What is known of others is kept from `before`; `cursors` keep how far those of `[siem]` are.

    Raises `ConfigInvalid`; nobody is called.
    """
    mirrors = read_mirrors(settings.mirrors, folder)
    return replace(
        before or Publishing(),
        rules=read_witnesses(settings, folder),
        authorities={each.name: each for each in read_authorities(settings, folder)},
        mirrors={
            name: CopyRules(mirror=mirror, every=settings.mirrors[name].every)
            for name, mirror in mirrors.items()
        },
        every=settings.log.publish,
        forwarding=read_forwarding(
            settings, folder, cursors, before.forwarding if before is not None else None
        ),
        troubles={},
        failing={},
    )
