"""The three dbt steps as assets: shape, features (with what they export), marts.

Belongs here: which selection a step builds, with which pinned inputs, and which tables leave the warehouse as Parquet.
What a model computes is SQL in `dbt_project/`.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject, dbt_assets

from ml.extra import PLACES, Extra, extra_features
from orchestration.assets.signals import add_rings
from orchestration.automation import ONE_DAY_A_RUN
from orchestration.coverage import write_coverage
from orchestration.dbt_results import DbtNode
from orchestration.exports import Export, ExportFolder
from orchestration.metadata import materialized
from orchestration.resources import Run
from orchestration.table_metadata import table_metadata
from touchstone.core.failpoints import failpoint
from touchstone.core.lists import LISTS, ListName
from touchstone.landing.currencies import RATES, describe_unknown_currencies, unknown_currencies
from touchstone.landing.sql import file_list, literal
from touchstone.publishing.history import ListStore, in_force_before

STAGES = {"shape": "stage_2_shape", "features": "stage_3_features", "marts": "stage_5_marts"}
OWNERS = ["team:data-engineering"]
# What the steps themselves pin for dbt, and no asset makes: it has no place in the lineage.
PINNED = {
    dg.AssetKey(["landed", name])
    for name in (
        *("run", "loads", "merchant_rings", "terms", "precision_bands", "rules"),
        *("published_flags", "lead_members"),
    )
}
# The schema that shows models what their own tables held before: no dependency on another asset.
PREVIOUS = "previous"
TERM_COLUMNS = {
    "model": "varchar", "model_digest": "varchar", "term": "integer", "category": "varchar", "brand": "varchar",
    "country": "varchar", "threshold": "double", "floor": "double", "capacity": "bigint", "corroboration": "bigint",
    "action": "varchar",
}  # fmt: skip
REASON_COLUMNS = {"reasons": "varchar", "signal_count": "bigint"}
SCORE_COLUMNS = {"score": "double", "own_conduct_score": "double", "margin": "double", "model_digest": "varchar"}
# The marts that hold the evidence, and the columns by which their rows are ordered.
EVIDENCE = {
    "rings": "ring_id, merchant_id",
    "ring_edges": "ring_id, merchant_id_a, merchant_id_b, kind",
    "merchant_ties": "merchant_id_a, merchant_id_b, kind",
    "expected_harms": "listing_id",
    "lead_merchants": "kind, group_id, merchant_id",
    "discrepancies": "listing_id, reference, field",
    "brushed_orders": "review_key",
    "adjusted_rank": "listing_id",
    "brushing_services": "service_id, buyer_id, merchant_id",
    "rule_findings": "rule, review_key",
    "rule_buyers": "rule, merchant_id, buyer_id",
    "currencies": "table_name nulls first, currency",
}
# The marts that hold outcomes.
OUTCOMES = {
    "reporters": "reporter_id",
    "notices": "notice_id",
    "appeals": "appeal_id",
    "overturn_rates": "grouped_by, value",
    "strikes": "merchant_id, violation_type",
    "test_buy_verdicts": "test_buy_id",
    "banned_merchants": "merchant_id",
    "enforcement_results": "action_id",
    "enforcement_months": "month_date, authority, brand, currency",
    "funnel": "violation_type, entity_kind, entity_id, stage_number",
    "funnel_months": "month_date, violation_type, entity_kind, stage_number, authority, brand",
    "lead_history": "lead_id, occurred_at, event, merchant_id, detail",
    "case_register": "case_id, merchant_id",
    "confirmed_counterfeiters": "merchant_id",
    "confirmed_accounts": "merchant_id, other_merchant_id",
}
SLICES = ("brand", "country", "price_band", "merchant_age_band", "language")
VERSION_COLUMNS = {
    **dict.fromkeys(("file", "list_name", "version"), "varchar"),
    "as_of_date": "date",
    **dict.fromkeys(("policy", "violation_type"), "varchar"),
}
FLAG_COLUMNS = {
    **{name: kind for name, kind in VERSION_COLUMNS.items() if name != "file"},
    **dict.fromkeys(("entity_kind", "entity_id"), "varchar"),
    "score": "double",
    "reasons": "varchar",
}
LEAD_COLUMNS = {
    **dict.fromkeys(("lead_id", "merchant_id"), "varchar"),
    "as_of_date": "date",
    "role": "varchar",
    "is_listed": "boolean",
    "listed_listing_count": "bigint",
}
RULE_COLUMNS = {
    "rule": "varchar",
    "indicator": "varchar",
    "at_least": "double",
    "at_most": "double",
    "action": "varchar",
}
BAND_COLUMNS = {"model": "varchar", "band": "varchar", "expected_precision": "double"}

Events = Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]


class FeaturesConfig(dg.Config):
    """What the features step builds in addition to the rows to score.

    Attributes:
        with_training: Whether also the rows that models are trained, evaluated and calibrated on.
    """

    with_training: bool = False


class Translator(DagsterDbtTranslator):
    """Gives dbt's nodes their place in the asset graph: key, group, owners, and what they stand on."""

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """Returns the asset of a dbt node: `landed/<table>` for a source, `<step>/<model>` for a model."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        if node["resource_type"] == "source":
            if node["source_name"] == PREVIOUS:
                return spec.replace_attributes(key=dg.AssetKey([PREVIOUS, node["name"]]))
            return spec.replace_attributes(key=_source_key(node["name"]))
        step = _step(node)
        return spec.replace_attributes(
            key=dg.AssetKey([step, node["name"]]),
            group_name=STAGES[step],
            owners=OWNERS,
            tags={"layer": node["fqn"][1] if node["resource_type"] == "model" else node["resource_type"]},
            deps=[dep for dep in spec.deps if dep.asset_key not in PINNED and dep.asset_key.path[0] != PREVIOUS],
        )


def _source_key(name: str) -> dg.AssetKey:
    if name == "pictures" or name.startswith("picture_"):
        return dg.AssetKey(["signals", "pictures"])
    for rated in LISTS.values():
        if name in {f"{rated.relation}_scores", f"{rated.relation}_reasons"}:
            return dg.AssetKey(["scores", rated.model])
    return dg.AssetKey(["landed", name])


def _step(node: Mapping[str, Any]) -> str:
    """Returns the step that builds a node, by its folder; seeds belong to shape."""
    folder: str = node["fqn"][1]
    return folder if folder in STAGES else "shape"


def dbt_steps(manifest: Mapping[str, Any], daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Returns the three dbt steps over a manifest; features and marts have a daily partition, the as-of date."""
    # A model's scores and its reasons come from one asset.
    translator = Translator(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))

    @dbt_assets(
        manifest=manifest,
        select="tag:shape",
        name="shape",
        dagster_dbt_translator=translator,
        required_resource_keys={"run"},
    )
    def shape(context: dg.AssetExecutionContext) -> Events:
        run: Run = context.resources.run
        with run.record.stage("shape") as stage:
            run.pin_newest_loads()
            run.warehouse.set_run(as_of=run.as_of, with_training=False)
            with failpoint("shape.build", run.warehouse.path):
                nodes = run.warehouse.build_shape()
            stage.steps = longest(nodes)
        note_unread(run)
        note_currencies(run)
        yield from _report(context, manifest, translator, nodes, {})

    @dbt_assets(
        manifest=manifest,
        select="tag:features",
        name="features",
        partitions_def=daily,
        backfill_policy=ONE_DAY_A_RUN,
        dagster_dbt_translator=translator,
        required_resource_keys={"run"},
    )
    def features(context: dg.AssetExecutionContext, config: FeaturesConfig) -> Events:
        run: Run = context.resources.run
        as_of = run.as_of
        run.record.facts["with_training"] = config.with_training
        with run.record.stage("features") as stage:
            run.warehouse.set_run(as_of=as_of, with_training=config.with_training)
            rings: dict[str, int] = {}
            nodes = run.warehouse.cached_features(as_of, with_training=config.with_training)
            if nodes is None:
                with failpoint("features.rings", run.warehouse.pinned):
                    rings = add_rings(run, as_of, with_training=config.with_training)
                with failpoint("features.build", run.warehouse.path):
                    nodes = run.warehouse.build_features(as_of, with_training=config.with_training)
            stage.steps = longest(nodes)
            with failpoint("features.export", run.paths.all_features):
                exported = export_features(run, as_of, with_training=config.with_training)
            stage.rows = rings | exported
        with run.record.stage("coverage"):
            write_coverage(run)
        if rings:
            context.log.info("%s.", ", ".join(f"{name}: {count:,}" for name, count in rings.items()))
        yield from _report(context, manifest, translator, nodes, exported)

    @dbt_assets(
        manifest=manifest,
        select="tag:marts",
        name="marts",
        partitions_def=daily,
        backfill_policy=ONE_DAY_A_RUN,
        dagster_dbt_translator=translator,
        required_resource_keys={"run"},
    )
    def marts(context: dg.AssetExecutionContext) -> Events:
        run: Run = context.resources.run
        as_of = run.as_of
        with run.record.stage("marts") as stage:
            with run.warehouse.connect():
                pin_scores(run, as_of)
                pin_outcomes(run, as_of)
            with failpoint("marts.build", run.warehouse.path):
                nodes = run.warehouse.build("tag:marts")
            stage.steps = longest(nodes)
            with failpoint("marts.export", run.paths.marts):
                stage.rows = export_marts(run, as_of)
        yield from _report(context, manifest, translator, nodes, stage.rows)

    return [shape, features, marts]


def note_unread(run: Run) -> None:
    """Notes how many specifications, titles and reviews cannot be read, and why; their features are unknown."""
    with run.warehouse.connect() as connection:
        unread = connection.sql("select * from int_unread_texts order by all").fetchall()
    if unread:
        counts = ", ".join(f"{part}: {count:,} {reason}" for part, reason, count in unread)
        run.note(f"Texts that cannot be read: {counts}. Their features are unknown.")


def note_currencies(run: Run) -> None:
    """Notes the base currency if there are several, and which share of each table's amounts has no exchange rate to it.

    Amounts up to the run's date count, as in the mart `currencies`.
    """
    with run.warehouse.connect() as connection:
        connection.execute(
            "create or replace temporary view amounts_so_far as select currency_days.* from int_currency_days as currency_days "
            "cross join landed.run as run where coalesce(currency_days.day <= run.as_of, true)"
        )
        currency_count = connection.sql("select count(distinct currency) from amounts_so_far").fetchall()[0][0]
        missing = connection.sql(
            "select table_name, sum(no_rate_count) as missing, sum(amount_count), "
            "string_agg(distinct coalesce(currency, 'no currency'), ', ' order by coalesce(currency, 'no currency')) "
            "filter (where no_rate_count > 0) from amounts_so_far group by table_name having missing > 0 order by table_name"
        ).fetchall()
        unknown = {
            table: describe_unknown_currencies(
                unknown_currencies(connection, *(f"(from landed.{name} where is_current)" for name in (table, RATES)))
            )
            for table, described in run.contract.tables.items()
            if "currency" in described.columns and table != RATES
        }
    for table, codes in unknown.items():
        if codes:
            run.note(f"{table}: {codes}.")
    base = run.warehouse.pinned_loads()["base_currency"]
    if currency_count > 1 or missing:
        chosen = "as set" if run.settings.base_currency else "the most frequent; TOUCHSTONE_BASE_CURRENCY sets another"
        run.note(f"Base currency: {base} ({chosen}).")
    if missing:
        parts = "; ".join(
            f"{table}: {count:,} of {total:,} ({count / total:.2%}; {names})" for table, count, total, names in missing
        )
        run.note(
            f"Amounts without an exchange rate to {base}: {parts}. Features that compare them are unknown. Provide rates in the "
            "table fx_rates, or the currency of the amounts if they have none."
        )


def export_features(run: Run, as_of: date, *, with_training: bool) -> dict[str, int]:
    """Writes what the models will see; returns the number of rows by file.

    Args:
        run: The run.
        as_of: The date that is rated.
        with_training: Whether the training rows leave the warehouse too.
    """
    folders: list[ExportFolder] = []
    for name, rated in LISTS.items():
        features = f"select {_feature_columns(name, run.warehouse.extra)} from {rated.relation}_features"
        scored = Export(f"{features} where purpose = 'score'", order_by=rated.key)
        scored_exports = {"features": scored}
        if name == "listings":
            # Merchants' titles are scored, too; those of a past day are needed for training rows.
            titles = f"select * from listing_texts where known_from <= date {literal(str(as_of))}"
            scored_exports["texts"] = Export(titles, order_by="listing_id, known_from")
        folders.append(ExportFolder(run.paths.features(name, as_of).parent, scored_exports, name))
        if with_training:
            order = f"{rated.key}, as_of_date, purpose"
            exports = {
                "features": Export(f"{features} where purpose <> 'score'", order_by=order),
                "spine": Export(f"select * from {rated.relation}_spine where purpose <> 'score'", order_by=order),
                "slices": Export(
                    f"select entity_id as {rated.key}, as_of_date, purpose, {', '.join(SLICES)} from slices "
                    f"where relation = '{rated.relation}'",
                    order_by=order,
                ),
                "edges": Export(
                    "select * from int_merchant_edges", order_by="merchant_id_a, merchant_id_b, kind, value_hash"
                ),
            }
            folders.append(ExportFolder(run.paths.training_rows(name, as_of), exports, f"{name} training"))
    return run.warehouse.export(folders)


def _feature_columns(list_name: ListName, extra: Extra) -> str:
    """Returns a select list of a list's feature table in which each feature of a marketplace's own column is a column."""
    places = PLACES.get(list_name)
    if not places:
        return "*"
    values = [f"{one.column}[{literal(one.key)}] as {one.feature.name}" for one in extra_features(list_name, extra)]
    return ", ".join([f"* exclude ({', '.join(places.values())})", *values])


def pin_scores(run: Run, as_of: date) -> None:
    """Shows dbt the scores and reasons of one date, the policy's terms applied to the models that gave them, and its rules.

    A model that is off leaves an empty relation, and its entities no rating.
    """
    terms: list[list[object]] = []
    bands: list[list[object]] = []
    for rated in LISTS.values():
        scores, reasons = run.paths.scores(rated.model, as_of), run.paths.reasons(rated.model, as_of)
        ids = dict.fromkeys((rated.key, *rated.carried), "varchar")
        run.warehouse.show_parquet(f"{rated.relation}_scores", scores, {**ids, **SCORE_COLUMNS})
        run.warehouse.show_parquet(f"{rated.relation}_reasons", reasons, {rated.key: "varchar", **REASON_COLUMNS})
        champion = run.registry.champion(rated.model) if scores.exists() else None
        if champion is not None:
            for term in run.applied_terms(rated.list_name, champion):
                values = {"model": rated.model, "model_digest": champion.model_digest, **term.model_dump()}
                terms.append([values[column] for column in TERM_COLUMNS])
            bands += [[rated.model, band["band"], band["expected_precision"]] for band in champion.bands]
    rules: list[list[object]] = [
        [rule.name, rule.column, rule.at_least, rule.at_most, rule.action] for rule in run.policy.rules
    ]
    run.warehouse.show_rows("rules", RULE_COLUMNS, rules)
    run.warehouse.show_rows("terms", TERM_COLUMNS, terms)
    run.warehouse.show_rows("precision_bands", BAND_COLUMNS, bands)


def pin_outcomes(run: Run, as_of: date) -> None:
    """Shows dbt what had been published before a date, and the merchants that leads had named by then.

    A list as of a day is published after it has ended: what is published as of the date itself came too late to be acted on.
    """
    versions: list[list[object]] = []
    flags = []
    for name, rated in LISTS.items():
        store = ListStore(run.paths.published, name)
        files = []
        for day, version in in_force_before(store.history(), as_of).items():
            files.append(str(store.version_directory(version) / f"{name}.parquet"))
            violation_type = run.declarations[rated.model].violation_type
            versions.append([files[-1], name, version, day, store.manifest(version).policy, violation_type])
        if files:
            read = f"read_parquet({file_list(map(Path, files))}, filename = true, hive_partitioning = false)"
            flags += [
                f"select list_name, version, as_of_date, policy, violation_type, '{column.removesuffix('_id')}' as entity_kind, "
                f"{column} as entity_id, score, reasons from {read} as rows "
                f"inner join landed.published_versions on file = rows.filename where {column} is not null"
                for column in (rated.carried or (rated.key,))
            ]
    run.warehouse.show_rows("published_versions", VERSION_COLUMNS, versions)
    run.warehouse.show_query("published_flags", " union all ".join(flags), FLAG_COLUMNS)
    leads = sorted(run.paths.all_leads.glob("as_of=*/lead_merchants.parquet"))
    leads = [path for path in leads if path.parent.name < f"as_of={as_of}"]
    named = (
        "select lead_id, merchant_id, cast(regexp_extract(filename, 'as_of=([0-9-]+)/[^/]*$', 1) as date) as as_of_date, "
        "role, is_listed, listed_listing_count "
        f"from read_parquet({file_list(leads)}, filename = true, hive_partitioning = false)"
    )
    run.warehouse.show_query("lead_members", named if leads else "", LEAD_COLUMNS)


def export_marts(run: Run, as_of: date) -> dict[str, int]:
    """Writes the marts of one date for analysts and for publication; returns the number of rows by mart."""
    order = {rated.mart: rated.key for rated in LISTS.values()} | EVIDENCE | OUTCOMES
    return run.warehouse.export(
        [
            ExportFolder(run.paths.mart(mart, as_of).parent, {mart: Export(f"select * from {mart}", order_by=order_by)})
            for mart, order_by in order.items()
        ]
    )


def longest(nodes: list[DbtNode]) -> dict[str, float]:
    """Returns the seconds of the nodes that took 50 ms and more, by name, the longest first."""
    long = sorted((node for node in nodes if node.seconds >= 0.05), key=lambda node: -node.seconds)
    return {node.unique_id.split(".")[2]: round(node.seconds, 2) for node in long}


def _report(
    context: dg.AssetExecutionContext,
    manifest: Mapping[str, Any],
    translator: Translator,
    nodes: list[DbtNode],
    rows: Mapping[str, int],
) -> Events:
    """Reports each node to Dagster: a materialisation of a model or seed, a check result of a data test.

    A step is always built as a whole, whichever of its assets were selected: its tables are of one date and one set of loads.
    """
    checks = {key.name: key for key in context.selected_asset_check_keys}
    described = _described(context.resources.run, manifest, translator, nodes)
    for node in nodes:
        properties = manifest["nodes"][node.unique_id]
        if node.is_test:
            if (check := checks.get(properties["name"])) is not None:
                yield dg.AssetCheckResult(
                    asset_key=check.asset_key,
                    check_name=check.name,
                    passed=node.status in {"pass", "warn"},
                    severity=dg.AssetCheckSeverity.ERROR if node.status == "fail" else dg.AssetCheckSeverity.WARN,
                    description=_test_sentence(properties, node),
                    metadata={"rows_that_break_it": node.failures or 0, "seconds": round(node.seconds, 3)},
                )
        elif node.status == "success":
            key = translator.get_asset_spec(manifest, node.unique_id, None).key
            yield from materialized(
                context, key, {"seconds": round(node.seconds, 3), **described.get(node.unique_id, {})}
            )
    context.log.info(
        "Built %s.", ", ".join([f"{len(nodes)} nodes", *(f"{rows[name]:,} rows of {name}" for name in rows)])
    )


def _described(
    run: Run, manifest: Mapping[str, Any], translator: Translator, nodes: list[DbtNode]
) -> dict[str, dict[str, Any]]:
    """Returns the metadata of the tables that a step has built, by their dbt id."""
    models = {name: node for name, node in manifest["nodes"].items() if node["resource_type"] in {"model", "seed"}}
    keys = {
        (node["schema"], node["name"]): translator.get_asset_spec(manifest, name, None).key
        for name, node in (models | manifest["sources"]).items()
    }
    keys = {relation: key for relation, key in keys.items() if key not in PINNED}
    built = [models[node.unique_id] for node in nodes if node.unique_id in models]
    return table_metadata(run.warehouse, built, keys, run.paths.dbt_target / "compiled")


def _test_sentence(properties: Mapping[str, Any], node: DbtNode) -> str:
    if node.status == "pass":
        return properties.get("description") or "No row breaks it."
    return f"{node.message or properties['name']} See {properties['original_file_path']}."
