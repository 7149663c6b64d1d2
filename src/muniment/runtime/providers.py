"""From the settings about providers to what verifies their tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from muniment.identity.keys import KeySets
from muniment.identity.oidc import SignIn
from muniment.identity.providers import Provider
from muniment.identity.signed import Tokens
from muniment.operations.providers import ProviderRules, Providers
from muniment.ports import Outbound, Secret
from muniment.runtime import clock
from muniment.runtime.settings import Provider as Section
from muniment.runtime.settings import Settings, read_secret


@dataclass(frozen=True, kw_only=True)
class ReadProviders:
    """The providers of a configuration."""

    #: for operations
    providers: Providers
    #: where people sign in, by the provider's name
    sign_ins: Mapping[str, SignIn]


def read_providers(settings: Settings, folder: Path, outbound: Outbound) -> ReadProviders:
    """Raises `ConfigInvalid`. Nobody is called yet."""
    keys = KeySets(outbound, clock.elapsed)
    known = {name: _provider(name, section) for name, section in settings.providers.items()}
    sign_ins = {
        name: SignIn(
            known[name],
            outbound,
            keys,
            client_secret=_secret(section.client_secret, f"providers.{name}.client_secret", folder),
        )
        for name, section in settings.providers.items()
        if section.kind == "people"
    }
    rules = {name: _rules(settings, name, folder) for name in settings.providers}
    tokens = Tokens(list(known.values()), keys) if known else None
    return ReadProviders(providers=Providers(rules=rules, tokens=tokens), sign_ins=sign_ins)


def _provider(name: str, section: Section) -> Provider:
    return Provider(
        name=name,
        kind=section.kind,
        issuer=section.issuer,
        audience=section.audience,
        client_id=section.audience if section.kind == "people" else None,
        jwks_uri=section.jwks_uri,
        algorithms=section.algorithms,
        allow=section.allow,
    )


def _secret(reference: str | None, where: str, folder: Path) -> Secret | None:
    return None if reference is None else read_secret(reference, where, folder)


def _rules(settings: Settings, name: str, folder: Path) -> ProviderRules:
    section = settings.providers[name]
    others = (settings.providers[other].issuer for other in section.speaks_of)
    return ProviderRules(
        name=name,
        kind=section.kind,
        issuer=section.issuer,
        groups=section.groups,
        groups_claim=section.groups_claim,
        subject_claim=section.subject_claim,
        login_claim=section.login_claim,
        enrol=section.enrol,
        session=section.session,
        mfa=frozenset(section.mfa),
        phishing_resistant=frozenset(section.phishing_resistant),
        scim=section.scim,
        scim_subject=section.scim_subject,
        audience=section.audience,
        workload=section.workload,
        speaks_of=frozenset(others) or frozenset((section.issuer,)),
        poll=section.poll,
        allow=section.allow,
        poll_token=_secret(section.poll_token, f"providers.{name}.poll_token", folder),
        push_token=_secret(section.push_token, f"providers.{name}.push_token", folder),
    )
