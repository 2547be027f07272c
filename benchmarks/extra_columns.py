"""Whether columns of a marketplace's own restore what is lost without a table, on the demo's known truth.

A marketplace is trained on as of 2026-06-15 and rated as of 2026-06-30, three times: with all tables; without what one signal is
made of; and without it, but with the features that this costs supplied as `extra` columns of snapshots, as by a marketplace that
computes them itself. Prints the recall of the signal's archetype at 90 % precision, as docs/detection.md defines it.

    python benchmarks/extra_columns.py --scale 0.1 --seeds 1101 --signals logo link review
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow.parquet as pq
import yaml
from detection import POOLED, Rate, above, truth_of
from quality import AS_OF, TRAINED_AS_OF, rate, revision, touchstone

from expectations.contract import load_contract
from ml.coverage import missing_inputs, read_feature_inputs
from ml.declarations import Declaration, Feature, load_declarations
from touchstone.core.lists import list_of_model

TABLES: Final = {"listings": "listing_snapshots", "merchants": "merchant_snapshots"}
VARIANTS: Final = ("all tables", "without", "as extra columns")


@dataclass(frozen=True)
class Signal:
    """What is removed.

    Attributes:
        archetype: The counterfeiters that the signal is there to find.
        removed: Tables, and columns as `table.column`.
    """

    archetype: str
    removed: tuple[str, ...]


SIGNALS: Final = {
    "logo": Signal("picture_copier", ("listing_images", "brand_logos")),
    "link": Signal("ring", ("merchant_identifiers",)),
    "review": Signal("complaint_drawing", ("reviews.text",)),
}


def lost_features(declaration: Declaration, removed: tuple[str, ...]) -> list[Feature]:
    """Returns the features of a model that need what is removed."""
    names = {
        *load_contract().tables,
        *(f"{table}.{column}" for table, declared in load_contract().tables.items() for column in declared.columns),
    }
    kept = {name for name in names if name not in removed and name.split(".")[0] not in removed} - {
        f"{table}.{column}" for table in TABLES.values() for column in load_contract().tables[table].columns
    }
    needs = read_feature_inputs()[declaration.name]
    return [one for one in declaration.features if missing_inputs(needs.get(one.name, ()), kept)]


def declared(feature: Feature) -> dict[str, Any]:
    """Returns the entry of the sources file that declares a feature as a column of the marketplace's own."""
    is_boolean = feature.unit == "boolean"
    return {
        "signal": feature.signal,
        "controlled_by": feature.controlled_by,
        "type": "boolean" if is_boolean else "number",
        **({} if is_boolean else {"unit": feature.unit}),
        **({"direction": {1: "high", -1: "low"}[feature.monotone]} if feature.monotone else {}),
        "words": feature.words,
        "description": feature.description,
    }


def remove(marketplace: Path, removed: tuple[str, ...]) -> None:
    """Removes tables and columns from a marketplace's files and its sources file."""
    file = marketplace / "sources.yml"
    content = yaml.safe_load(file.read_text())
    for name in removed:
        table, _, column = name.partition(".")
        path = marketplace / "sources" / f"{table}.parquet"
        if column:
            rows = duckdb.read_parquet(str(path)).to_arrow_table()
            pq.write_table(rows.drop_columns([column]), path)
        else:
            content["tables"].pop(table)
            content["inputs"].pop(table)
            path.unlink()
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def supply(marketplace: Path, base: Path, rates: str, lost: list[Feature]) -> None:
    """Adds a home's features to a marketplace as columns of its snapshots, observed at the end of their dates."""
    table, key = TABLES[rates], f"{rates.removesuffix('s')}_id"
    folders = [
        f"training/{rates}/as_of={TRAINED_AS_OF}",
        *(f"features/{rates}/as_of={day}" for day in (TRAINED_AS_OF, AS_OF)),
    ]
    names = [feature.name for feature in lost]
    path = marketplace / "sources" / f"{table}.parquet"
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        values = ", ".join(f"any_value({name}) as {name}" for name in names)
        rows = " union all by name ".join(
            f"select {key}, as_of_date, {', '.join(names)} from read_parquet('{base}/{folder}/features.parquet')"
            for folder in folders
        )
        connection.execute(
            f"create table supplied as select {key}, cast(as_of_date as timestamp) + interval '86399 seconds' as observed_at, "
            f"{values} from ({rows}) group by all"
        )
        query = "from supplied"
        if path.exists():
            # What the demo displays of a merchant stays what it was: its last snapshot is repeated.
            connection.read_parquet(str(path)).create_view("shown")
            connection.execute(
                "create table kept as select * replace (cast(observed_at as timestamp) as observed_at) from shown"
            )
            query = (
                f"select supplied.*, kept.* exclude ({key}, observed_at) from supplied asof left join kept "
                f"on kept.{key} = supplied.{key} and kept.observed_at <= supplied.observed_at union all by name from kept"
            )
        connection.sql(query).write_parquet(str(path))
    file = marketplace / "sources.yml"
    content = yaml.safe_load(file.read_text())
    content["inputs"].setdefault(table, {"connector": "parquet", "path": f"sources/{table}.parquet"})
    content["tables"].setdefault(table, {"input": table})["extra"] = {one.name: declared(one) for one in lost}
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def rate_variant(home: Path, base: Path, signal: Signal, *, with_extra: bool) -> None:
    """Trains and rates a home as `quality.rate` does, without what a signal is made of."""
    shutil.copytree(base / "marketplace", home / "marketplace")
    remove(home / "marketplace", signal.removed)
    if with_extra:
        for declaration in load_declarations().values():
            if declaration.rates in TABLES:
                supply(home / "marketplace", base, declaration.rates, lost_features(declaration, signal.removed))
    touchstone(home, "run", "--as-of", TRAINED_AS_OF, "--train", "--approve-if-passing")
    touchstone(home, "run", "--as-of", AS_OF)


def recall(home: Path, model: str, archetype: str) -> Rate:
    """Returns how many of an archetype's counterfeits lie above the score at which 90 % are counterfeit."""
    rates = list_of_model(model).list_name
    truth = truth_of(home, rates)
    kind = np.array([POOLED.get(one, one) for one in truth["archetype"].astype(str)])
    is_fake, judged = truth["is_counterfeit"].astype(bool), ~truth["is_labelled"].astype(bool)
    key = f"{rates.removesuffix('s')}_id"
    scores = pq.read_table(home / "scores" / model / f"as_of={AS_OF}" / "scores.parquet", partitioning=None).sort_by(
        key
    )
    found = Rate()
    found.look(above(scores["margin"].to_numpy(), is_fake, judged), judged & is_fake & (kind == archetype))
    return found


def main() -> None:
    """Parses the arguments, measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1101])
    parser.add_argument("--signals", nargs="+", choices=list(SIGNALS), default=list(SIGNALS))
    arguments = parser.parse_args()
    print(f"Code {revision()}; scale {arguments.scale}.\n")
    print(f"| seed | signal | archetype | model | cases | {' | '.join(VARIANTS)} |\n{'| --- ' * (5 + len(VARIANTS))}|")
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder) / "base"
            rate(base, arguments.scale, seed, 1.0)
            for name in arguments.signals:
                signal = SIGNALS[name]
                homes = [base, Path(folder) / f"{name}_without", Path(folder) / f"{name}_extra"]
                for home in homes[1:]:
                    rate_variant(home, base, signal, with_extra=home.name.endswith("extra"))
                for model in ("listing_counterfeit", "merchant_counterfeit"):
                    found = [recall(home, model, signal.archetype) for home in homes]
                    shares = " | ".join(f"{one.share:.3f}" for one in found)
                    print(
                        f"| {seed} | {name} | {signal.archetype} | {model} | {found[0].cases} | {shares} |", flush=True
                    )
                for home in homes[1:]:
                    shutil.rmtree(home)


if __name__ == "__main__":
    main()
