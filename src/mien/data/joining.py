"""One picture that stands in the data under two annotations, or in two layouts, becomes one row with both.

Two rows with one `id` are the same frame (CK+ in two layouts, whose key is subject, sequence and frame). A
row of FER-2013 that has only its own label, and one that has only FER+'s votes, are the same picture when
they lie in the same split and their pixels are equal, or, since Kaggle's folders are JPEG, when each is the
other's nearest twin. What is left over stays as a row that is not kept and says where it went.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

JOINED: Final = "joined to another row"
TWO_LABELS: Final = "two labels"
_OWN: Final = (
    *("id", "set", "source_file", "source_row", "joined_from", "pack_row", "sha256"),
    *("height", "width", "channels", "format", "brightness", "face_box", "landmarks", "faces_found"),
    *("detection_score", "crop", "crop_transform", "kept", "drop_reason", "drop_detail"),
)
"""Columns that belong to the picture itself and are not taken over from the other."""


def join_by_id(frame: pl.DataFrame, annotations: Mapping[str, tuple[str, ...]]) -> pl.DataFrame:
    """Join rows with one `id`: the kept one that was not cropped beforehand takes over what the others know.

    Rows that contradict each other in a label are dropped, all of them. The ids of the rows that are joined
    to another get a suffix, so that ids stay unique.
    """
    if not frame["id"].is_duplicated().any():
        return frame
    rows = frame.with_row_index("_row").filter(pl.col("id").is_duplicated())
    order = rows.sort("id", pl.col("kept").not_(), pl.col("crop") == "came_cropped", "_row", nulls_last=True)
    merged: dict[int, int] = {}
    clashing: set[int] = set()
    for _, group in order.group_by("id", maintain_order=True):
        first, *others = group["_row"].to_list()
        if any(group[f"labels.{name}"].drop_nulls().n_unique() > 1 for name in annotations):
            clashing |= {first, *others}
        merged |= dict.fromkeys(others, first)
    joined = merge_rows(frame, merged)
    mask = pl.Series([row in clashing for row in range(len(frame))], dtype=pl.Boolean)
    said = pl.lit("its layouts give it different labels")
    return joined.with_columns(
        (pl.col("kept") & ~mask).alias("kept"),
        pl.when(mask).then(None).otherwise("pack_row").alias("pack_row"),
        pl.when(mask).then(pl.lit(TWO_LABELS)).otherwise("drop_reason").alias("drop_reason"),
        pl.when(mask).then(said).otherwise("drop_detail").alias("drop_detail"),
    )


def join_annotations(
    frame: pl.DataFrame, twins: pl.DataFrame, first: str = "fer2013", second: str = "ferplus"
) -> tuple[pl.DataFrame, int]:
    """Join the pictures of one set that came twice, once under each of two annotations.

    Where the pictures of `first` know no validation split (Kaggle's folders without prefixes call PublicTest
    and PrivateTest alike `test`), a partner in validation says that the picture belongs there.

    Args:
        frame: the rows.
        twins: pairs of rows of the same picture as row numbers `a` and `b` of the frame, with `correlation`
            and whether the pair is `plain` (neither mirrored nor shifted); of several equal pictures it is
            enough that one is paired.
        first: the annotation that stays where it is.
        second: the annotation that is taken over.

    Returns:
        The frame, and how many pictures of `second` found no partner although there are pictures of `first`.
    """
    labels = [f"labels.{first}", f"labels.{second}"]
    if any(name not in frame.columns for name in labels):
        return frame, 0
    has = [pl.col(f"labels.{name}").is_not_null() for name in (first, second)]
    if f"votes.{second}" in frame.columns:
        has[1] = has[1] | pl.col(f"votes.{second}").is_not_null()
    rows = frame.with_row_index("_row").with_columns(pl.col("_row").cast(pl.Int64))
    packed = rows.filter("kept").with_columns(_first=has[0], _second=has[1])
    one = packed.filter("_first")
    other = packed.filter(pl.col("_second") & ~pl.col("_first"))
    if not len(one) or not len(other):
        return frame, 0
    is_loose = "validation" not in one["split"]
    part = pl.col("split").replace("validation", "test") if is_loose else pl.col("split")
    sides = [side.select("_row", "set", "sha256", part.alias("_part")) for side in (one, other)]
    merged = _partners(sides[0], sides[1], _classes_of_twins(frame, twins))
    out = merge_rows(frame, merged)
    if is_loose:
        given = frame["split"].to_list()
        moved = {target: given[source] for source, target in merged.items()}
        out = out.with_columns(
            pl.Series("split", [moved.get(row, split) for row, split in enumerate(given)], dtype=pl.String)
        )
    return out, len(other) - len(merged)


def _classes_of_twins(frame: pl.DataFrame, twins: pl.DataFrame) -> pl.DataFrame:
    """The plain pairs as pairs of pixel hashes, both ways, and each hash with itself: `_a`, `_b`,
    `correlation`."""
    hashes = frame["sha256"]
    plain = twins.filter("plain")
    a, b = hashes.gather(plain["a"]), hashes.gather(plain["b"])
    same = hashes.drop_nulls().unique(maintain_order=True)
    correlation = plain["correlation"].cast(pl.Float64)
    return pl.DataFrame(
        {
            "_a": pl.concat([same, a, b]),
            "_b": pl.concat([same, b, a]),
            "correlation": pl.concat([pl.repeat(1.0, len(same), eager=True), correlation, correlation]),
        }
    ).unique(["_a", "_b"], keep="first", maintain_order=True)


def _partners(one: pl.DataFrame, other: pl.DataFrame, classes: pl.DataFrame) -> dict[int, int]:
    """Each picture's best partner, every picture once: row to take from, to row that takes."""
    pairs = one.join(classes, left_on="sha256", right_on="_a").join(
        other, left_on=["_b", "set", "_part"], right_on=["sha256", "set", "_part"], nulls_equal=True
    )
    pairs = pairs.sort(pl.col("correlation"), "_row", "_row_right", descending=[True, False, False])
    merged: dict[int, int] = {}
    taken: set[int] = set()
    for target, source in pairs.select("_row", "_row_right").iter_rows():
        if target not in taken and source not in merged:
            merged[source] = target
            taken.add(target)
    return merged


def merge_rows(frame: pl.DataFrame, merged: Mapping[int, int]) -> pl.DataFrame:
    """Rows take over what they lack from others, which are dropped.

    Args:
        frame: the rows.
        merged: number of the row to take from, to the number of the row that takes.
    """
    if not merged:
        return frame
    numbered = frame.with_row_index("_row").with_columns(pl.col("_row").cast(pl.Int64))
    where = pl.concat_str("source_file", pl.format(", row {}", "source_row").fill_null("")).alias("_where")
    shared = [name for name in frame.columns if name not in _OWN]
    pairs = pl.DataFrame(
        {"_from": [*merged], "_to": [*merged.values()]}, schema={"_from": pl.Int64, "_to": pl.Int64}
    )
    taken = pairs.join(numbered.select("_row", where, *shared), left_on="_from", right_on="_row", how="left")
    taken = taken.group_by("_to", maintain_order=True).agg(
        pl.col("_where"), *(pl.col(name).drop_nulls().first().name.suffix("_new") for name in shared)
    )
    target = pairs.join(
        numbered.select("_row", pl.col("id").alias("_target")), left_on="_to", right_on="_row", how="left"
    )
    out = numbered.join(taken, left_on="_row", right_on="_to", how="left", maintain_order="left")
    out = out.join(
        target.select("_from", "_target"), left_on="_row", right_on="_from", how="left", maintain_order="left"
    )
    gone = pl.col("_target").is_not_null()
    joined_from = pl.coalesce("_where", "joined_from").alias("joined_from")
    out = out.with_columns(
        *(pl.coalesce(name, f"{name}_new").alias(name) for name in shared),
        joined_from,
        pl.when(gone & (pl.col("id") == pl.col("_target")))
        .then(pl.format("{}#{}", "id", "_row"))
        .otherwise("id")
        .alias("id"),
    )
    known = pl.col("drop_reason").is_not_null()
    before = pl.when(known).then(pl.format("; {}", "drop_reason")).otherwise(pl.lit(""))
    out = out.with_columns(
        (pl.col("kept") & ~gone).alias("kept"),
        pl.when(gone).then(None).otherwise("pack_row").alias("pack_row"),
        pl.when(gone).then(pl.lit(JOINED)).otherwise("drop_reason").alias("drop_reason"),
        pl.when(gone)
        .then(pl.format("its annotation is with {}{}", "_target", before))
        .otherwise("drop_detail")
        .alias("drop_detail"),
    )
    return out.select(frame.columns)


def drop_where(
    frame: pl.DataFrame, mask: pl.Series, reason: str, detail: str | pl.Series | None = None
) -> pl.DataFrame:
    """The frame without the kept rows of a Boolean mask: not kept, no face, the reason given."""
    said = detail if isinstance(detail, pl.Series) else pl.lit(detail, dtype=pl.String)
    gone = frame["kept"] & mask
    return frame.with_columns(
        (frame["kept"] & ~gone).alias("kept"),
        pl.when(gone).then(None).otherwise("pack_row").alias("pack_row"),
        pl.when(gone).then(pl.lit(reason)).otherwise("drop_reason").alias("drop_reason"),
        pl.when(gone).then(said).otherwise("drop_detail").alias("drop_detail"),
    )
