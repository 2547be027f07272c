"""What SQL cannot tell, between shape and features: for now what pictures show.

Belongs here: which rows a signal is computed of and where dbt finds what came out. What a signal is, is in `ml/signals/`; how
pictures are read and their hashes kept, in `orchestration/landing/pictures.py`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from orchestration.resources import Run

if TYPE_CHECKING:
    from orchestration.landing.pictures import Added

OWNERS = ["team:data-engineering"]
PICTURES = """
select sha256, min(uri) as uri
from (
    select sha256, uri from landed.listing_images
    union all
    select sha256, uri from landed.brand_logos
)
where sha256 is not null
group by sha256
order by sha256
"""


def signal_assets() -> list[dg.AssetsDefinition]:
    """Returns the steps that compute signals; like shape they do not depend on a date."""
    spec = dg.AssetSpec(
        ["signals", "pictures"],
        group_name="stage_2_signals",
        owners=OWNERS,
        description="Hashes of the pictures of listings and brands, and which show the same. A picture is read once.",
        deps=[["shape", "stg_listing_images"], ["shape", "stg_brand_logos"]],
        kinds={"parquet"},
    )

    @dg.multi_asset(name="pictures", specs=[spec], required_resource_keys={"run"})
    def pictures(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        from orchestration.landing.pictures import NO_FOLDER

        run: Run = context.resources.run
        with run.record.stage("pictures") as stage:
            added, known = add_pictures(run)
            stage.rows = {"pictures hashed": added.hashed}
        unread = dict(sorted(added.unread.items()))
        if set(unread) - {NO_FOLDER}:
            told = ", ".join(f"{count:,} {reason}" for reason, count in unread.items())
            run.note(f"Pictures of which nothing can be told: {told}. They count as unknown.")
        yield dg.MaterializeResult(
            asset_key=["signals", "pictures"],
            metadata={"pictures": known, "new": added.hashed, "unread": dg.MetadataValue.json(unread)},
        )

    return [pictures]


def add_pictures(run: Run) -> "tuple[Added, int]":
    """Hashes what is new among the pictures that landed and shows dbt all; returns what was done and how many are known."""
    from orchestration.landing.pictures import PictureStore
    from orchestration.landing.sources import picture_folder

    store = PictureStore(run.home / "signals" / "pictures", threads=run.settings.threads)
    with run.warehouse.connect() as connection:
        wanted = connection.sql(PICTURES).to_arrow_table()
    added = store.add(wanted, picture_folder(run.settings.sources_file))
    known = store.known()
    run.warehouse.show_table("pictures", known)
    run.warehouse.show_table("picture_matches", store.matches())
    return added, known.num_rows
