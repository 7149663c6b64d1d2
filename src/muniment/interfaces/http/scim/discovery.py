"""What this service offers of SCIM, in SCIM's own words (RFC 7643 sections 5 to 7)."""

from typing import Any, Final

from scim2_models import (
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    Context,
    ETag,
    Filter,
    Meta,
    Pagination,
    Patch,
    Resource,
    ResourceType,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
)

from muniment.interfaces.http.scim.models import EnterpriseUser, Group, User

#: how many resources one answer holds at most, and unless a client asks for fewer
MAX_PAGE: Final = 200
PAGE: Final = 100

_PROVIDER: Final = ScimProvider(
    models=[User, EnterpriseUser, Group],
    resource_types=[
        ResourceType.from_resource(User[EnterpriseUser]),
        ResourceType.from_resource(Group),
    ],
    config=ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=MAX_PAGE),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=False),
        etag=ETag(supported=False),
        pagination=Pagination(
            cursor=False, index=True, default_page_size=PAGE, max_page_size=MAX_PAGE
        ),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="Bearer token",
                description="The token of the workload that the provider's settings name",
                primary=True,
            )
        ],
    ),
)


def about(here: str) -> dict[str, Any]:
    """The `/ServiceProviderConfig`."""
    config = _PROVIDER.config
    if config is None:  # it was given above
        raise RuntimeError
    return _dump(config, "ServiceProviderConfig", f"{here}/ServiceProviderConfig")


def described(here: str) -> dict[str, list[dict[str, Any]]]:
    """The `/ResourceTypes` and the `/Schemas`."""
    return {
        "ResourceTypes": [
            _dump(each, "ResourceType", f"{here}/ResourceTypes/{each.id}")
            for each in _PROVIDER.resource_types
        ],
        "Schemas": [
            _dump(each, "Schema", f"{here}/Schemas/{each.id}") for each in _PROVIDER.schemas
        ],
    }


def _dump(resource: Resource[Any], kind: str, location: str) -> dict[str, Any]:
    here = resource.model_copy(update={"meta": Meta(resource_type=kind, location=location)})
    dumped: dict[str, Any] = here.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE)
    return dumped
