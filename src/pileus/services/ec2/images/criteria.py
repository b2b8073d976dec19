"""Which images an account lets be used: those that match one of its criteria.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-allowed-amis.html.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pileus.operations.context import Context
from pileus.operations.filters import matcher
from pileus.records import Image, Sharing


def is_allowed(context: Context, rules: Sharing, image: Image) -> bool:
    """Whether the rules let the account use an image. Its own it may always use, and without criteria all."""
    if rules.allowed_images == "disabled" or image.account == context.account:
        return True
    return any(_matches(context, criterion, image) for criterion in rules.criteria)


def _matches(context: Context, criterion: Mapping[str, Any], image: Image) -> bool:
    providers, names = criterion.get("ImageProviders"), criterion.get("ImageNames")
    if providers and "none" not in providers and not {image.account, image.owner_alias} & set(providers):
        return False
    if names and not matcher(names)([image.name]):
        return False
    if criterion.get("MarketplaceProductCodes"):
        return False  # no image here is sold
    created = criterion.get("CreationDateCondition", {}).get("MaximumDaysSinceCreated")
    if created is not None and context.now - image.created > timedelta(days=created):
        return False
    deprecated = criterion.get("DeprecationTimeCondition", {}).get("MaximumDaysSinceDeprecated")
    if deprecated is None or image.deprecated is None:
        return True
    return context.now - image.deprecated <= timedelta(days=deprecated)
