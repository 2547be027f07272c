"""What Dagster's pages show of an asset that a step has built: its materialisation and its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg


def materialized(
    context: dg.AssetExecutionContext, key: dg.AssetKey, metadata: Mapping[str, Any]
) -> Iterator[dg.MaterializeResult[None]]:
    """Reports that a step has built an asset, whether or not the asset was selected.

    Some steps can only be done as a whole: tables are checked against one another when they land, and the warehouse holds one
    date of one set of loads. If a person materialises one asset of such a step, Dagster expects a result for that asset alone;
    the others are reported as events of the run.
    """
    if key in context.selected_asset_keys:
        yield dg.MaterializeResult(asset_key=key, metadata=metadata)
    else:
        partition = context.partition_key if context.has_partition_key else None
        context.log_event(dg.AssetMaterialization(key, metadata=metadata, partition=partition))
