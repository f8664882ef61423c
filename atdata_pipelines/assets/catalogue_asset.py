"""The catalogue of the account as an asset, which follows the records that are published."""

import dagster as dg
from dagster import AutomationCondition as When

from ..config.settings import RECORD, Settings
from ..display.markdown import shown
from ..display.materialisation_metadata import safe
from ..display.progress import reporting
from .step_retries import POLICY, dagster_failures


def catalogue(settings: Settings) -> dg.AssetsDefinition:
    """The asset; automation conditions ask for it once no record is being published any more."""

    @dg.asset(
        key=settings.catalogue,
        deps=[settings.key(RECORD)],
        group_name=settings.group,
        kinds={"atproto", "s3"},
        required_resource_keys={*settings.resource_keys, settings.catalogue_resource},
        retry_policy=POLICY,
        automation_condition=When.any_deps_updated().since_last_handled()
        & ~When.any_deps_in_progress()
        & ~When.in_progress(),
    )
    def catalogue(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """A static site of all that the account has published; only pages that changed are written."""
        from ..catalogue import Bucket, publish_catalogue

        services = settings.services(context)
        with dagster_failures():
            store = getattr(context.resources, settings.catalogue_resource).bucket_store(services.s3.endpoint())
            made = publish_catalogue(
                services.atproto.did(),
                services.atproto.anonymous(),
                Bucket(store),
                url=store.public_url,
                progress=reporting(context.log.info, "datasets read"),
            )
        for each in made.unread:
            context.log.warning(shown(f"{each.name}: {each.problem}", "log"))
        counts = {"datasets": len(made.datasets), "cannot_be_read": len(made.unread), **vars(made.changes)}
        index = dg.MetadataValue.url(f"{store.public_url}/index.html")
        return dg.MaterializeResult(metadata=safe({**counts, "index": index}))

    return catalogue.map_asset_specs(settings.described)
