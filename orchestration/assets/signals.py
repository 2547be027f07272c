"""Signals that SQL cannot compute, between shape and features: what images show, and which merchants form a ring.

Belongs here: which rows a signal is computed of and where dbt finds what came out. What a signal is, is in `ml/signals/`; how
pictures are read and their hashes kept, in `touchstone/landing/images.py`.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ml.signals.links import RINGS, alike, rings
from ml.signals.picture_reader import is_installed
from orchestration.resources import Run
from touchstone.core.settings import LABEL_HORIZON_DAYS
from touchstone.landing.images import NO_DIGEST, NO_FOLDER, Added, PictureStore
from touchstone.landing.picture_readings import Read, ReadingStore, contacts_of, logos_of, statuses_of, texts_of
from touchstone.landing.sources import masked_patterns, picture_folder

OWNERS = ["team:data-engineering"]
MOST_ADDRESSES = 8
PICTURES = f"""
with shown as (
    select sha256, uri, landed_at, false as is_logo, listing_id as shown_by from landed.listing_images where sha256 is not null
    union all
    select sha256, uri, landed_at, true as is_logo, brand_id as shown_by from landed.brand_logos
),
addresses as (
    select sha256, uri, min(landed_at) as landed_at, bool_or(is_logo) as is_logo, min(shown_by) as shown_by
    from shown
    where uri is not null
    group by sha256, uri
),
in_turn as (
    select *, row_number() over (partition by sha256, shown_by order by landed_at, uri) as turn from addresses
),
placed as (
    select *, row_number() over (partition by sha256 order by turn, is_logo desc, landed_at, md5(shown_by), uri) as place
    from in_turn
),
in_use as (
    select sha256 from stg_listing_images
    union
    select sha256 from stg_brand_logos
)
select
    digests.sha256,
    coalesce(list(placed.uri order by placed.place) filter (where placed.uri is not null), []) as uris,
    bool_or(in_use.sha256 is not null) as in_use,
    any_value(digests.is_logo) as is_logo,
    any_value(digests.is_listed) as is_listed,
    any_value(digests.landed_at) as landed_at
from (
    select sha256, bool_or(is_logo) as is_logo, bool_or(not is_logo) as is_listed, min(landed_at) as landed_at
    from shown
    group by sha256
) as digests
left join placed on placed.sha256 = digests.sha256 and placed.place <= {MOST_ADDRESSES}
left join in_use on in_use.sha256 = digests.sha256
group by digests.sha256
order by digests.sha256
"""
"""Each picture that any load in view has, with its first addresses: one of each listing or brand in turn, logos first, then what
came first. So whoever states another's digest with addresses of its own is one among others."""
WITHOUT_DIGEST = "select count(*) from stg_listing_images where sha256 is null"
MOST_DAYS = 728
"""How long before as_of the dates of a training begin at the earliest, as rating_dates has it."""
FIRST_OBSERVED = """
select min(day) from int_load_days where moment in ('placed_at', 'created_at', 'observed_at', 'last_seen_at')
"""
"""Not after the first day of the history, before which there are no dates; a small table, where rating_dates reads all days."""
EDGES = """
select distinct merchant_id_a, merchant_id_b, kind, value_hash
from int_merchant_edges
where known_from <= $day and known_until > $day and (not $is_verified or (verified_from <= $day and verified_until > $day))
order by all
"""
ALIKE = """
select merchant_id_a, merchant_id_b, kind
from int_likeness_edges as likeness
where
    known_from <= $day
    and known_until > $day
    and exists (
        select 1
        from int_merchant_edges as edges
        where
            edges.merchant_id_a = likeness.merchant_id_a
            and edges.merchant_id_b = likeness.merchant_id_b
            and edges.known_from <= $day
            and edges.known_until > $day
    )
order by all
"""
"""Similarity counts only together with a shared identifier: a merchant that is copied is not linked to those who copy it."""


def signal_assets() -> list[dg.AssetsDefinition]:
    """Returns the steps that compute signals; like shape they do not depend on a date."""
    spec = dg.AssetSpec(
        ["signals", "pictures"],
        group_name="stage_2_signals",
        owners=OWNERS,
        description="Hashes of the pictures of listings and brands, which show the same, and the logos and text inside them.",
        deps=[["shape", "stg_listing_images"], ["shape", "stg_brand_logos"]],
        kinds={"parquet"},
    )

    @dg.multi_asset(name="pictures", specs=[spec], required_resource_keys={"run"})
    def pictures(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run: Run = context.resources.run
        with run.record.stage("pictures") as stage:
            added, known = add_pictures(run)
            stage.rows = {"pictures hashed": added.hashed}
        with run.record.stage("picture readings") as stage:
            readings = read_pictures(run)
            stage.rows = {"pictures read": readings.read}
        unread = dict(sorted(added.unread.items()))
        if set(unread) - {NO_FOLDER}:
            counts = ", ".join(f"{count:,} {reason}" for reason, count in unread.items())
            run.note(f"Images that cannot be read: {counts}. Their features are unknown.")
        yield dg.MaterializeResult(
            asset_key=["signals", "pictures"],
            metadata={
                "pictures": known,
                "new": added.hashed,
                "unread": dg.MetadataValue.json(unread),
                "read for logos and text": f"{readings.known:,} of {readings.wanted:,}",
            },
        )

    return [pictures]


def add_pictures(run: Run) -> tuple[Added, int]:
    """Hashes what is new among the pictures that landed and shows dbt all; returns what was done and how many are known."""
    store = PictureStore(run.paths.image_hashes, threads=run.settings.threads)
    with run.warehouse.connect() as connection:
        wanted = connection.sql(PICTURES).to_arrow_table()
        ((without_digest,),) = connection.execute(WITHOUT_DIGEST).fetchall()
    folder = picture_folder(run.settings.sources_file)
    added = store.add(wanted, folder)
    if folder and without_digest:
        added.unread[NO_DIGEST] = without_digest
    known = store.known()
    run.warehouse.show_table("pictures", known)
    run.warehouse.show_table("picture_matches", store.matches())
    return added, known.num_rows


def read_pictures(run: Run) -> Read:
    """Reads logos and text in pictures of listings, as many as the settings allow, and shows dbt what was ever found.

    Pictures that rows show now come first, and of those what landed last. A picture counts from its own day whenever it is read.
    """
    store = ReadingStore(run.paths.picture_readings)
    with run.warehouse.connect() as connection:
        pictures = connection.sql(PICTURES).to_arrow_table()
    order = [("in_use", "descending"), ("landed_at", "descending"), ("sha256", "ascending")]
    listed = pictures.filter(pictures["is_listed"]).sort_by(order)
    is_possible = is_installed()
    root = picture_folder(run.settings.sources_file)
    most = run.settings.most_pictures_read if is_possible else 0
    read = store.add(listed, pictures.filter(pictures["is_logo"]), root, most=most)
    if root and listed.num_rows:
        run.note(describe_read(read, is_possible=is_possible, most=most))
    readings = store.known()
    texts = texts_of(readings, masked_patterns(run.settings.sources_file))
    run.warehouse.show_table("picture_readings", statuses_of(readings))
    run.warehouse.show_table("picture_texts", texts)
    run.warehouse.show_table("picture_contacts", contacts_of(texts))
    run.warehouse.show_table("picture_logos", logos_of(readings))
    return read


def describe_read(read: Read, *, is_possible: bool, most: int) -> str:
    """Returns how many pictures were read, and what decides whether the rest will be."""
    line = f"Pictures read for logos and text: {read.known:,} of {read.wanted:,}"
    if not is_possible:
        return f"{line}. None is read without the extra: pip install 'touchstone[pictures]'."
    if read.known == read.wanted and not read.stale:
        return f"{line}."
    stale = f", {read.stale:,} of them with earlier logos or by an earlier version" if read.stale else ""
    return f"{line}{stale}. A run reads up to {most:,} (TOUCHSTONE_PICTURES_PER_RUN)."


def add_rings(run: Run, as_of: date, *, with_training: bool) -> dict[str, int]:
    """Finds the rings at as_of and, for a training, at its dates, and shows dbt all; returns counts of those at as_of.

    Unlike pictures, rings depend on the date: so this belongs to the features step, before its models.
    """
    with run.warehouse.connect() as connection:
        found = merchant_rings(connection, as_of, with_training=with_training)
    run.warehouse.show_table("merchant_rings", found)
    newest = found.filter(pc.and_(pc.equal(found["as_of_date"], as_of), pc.invert(found["is_verified"])))
    sizes = newest.group_by("ring_id").aggregate([("merchant_id", "count")])["merchant_id_count"]
    return {
        "rings": len(sizes),
        "merchants in rings": newest.num_rows,
        "in the largest ring": pc.max(sizes).as_py() or 0,
    }


def merchant_rings(connection: duckdb.DuckDBPyConnection, as_of: date, *, with_training: bool) -> pa.Table:
    """Returns the rows of `landed.merchant_rings`: at each date the rings of what was known by its end, by date and merchant."""
    days = [as_of]
    if with_training:
        first = connection.execute(FIRST_OBSERVED).fetchall()[0][0] or as_of
        weeks = [as_of - timedelta(days) for days in range(LABEL_HORIZON_DAYS % 7, MOST_DAYS + 1, 7)]
        days = sorted({as_of, *(day for day in (first, *weeks) if first <= day <= as_of)})
    parts = []
    for day in days:
        for is_verified in (True, False):
            edges = connection.execute(EDGES, {"day": day, "is_verified": is_verified}).to_arrow_table()
            if not is_verified:
                pairs = connection.execute(ALIKE, {"day": day}).to_arrow_table()
                edges = pa.concat_tables([edges, alike(pairs)])
            found = rings(edges)
            parts.append(
                found.append_column("as_of_date", pa.repeat(pa.scalar(day, pa.date32()), found.num_rows)).append_column(
                    "is_verified", pa.repeat(pa.scalar(is_verified), found.num_rows)
                )
            )
    return pa.concat_tables(parts).select(["as_of_date", *RINGS.names, "is_verified"])
