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
    "id",
    "set",
    "source_file",
    "source_row",
    "joined_from",
    "pack_row",
    "sha256",
    "height",
    "width",
    "channels",
    "format",
    "brightness",
    "crop",
    "crop_transform",
    "kept",
    "drop_reason",
    "drop_detail",
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
        merged |= dict.fromkeys(others, first)
        if any(group[f"labels.{name}"].drop_nulls().n_unique() > 1 for name in annotations):
            clashing |= {first, *others}
    joined = merge_rows(frame, merged)
    return drop_rows(joined, clashing, TWO_LABELS, "its two layouts give it different labels")


def join_annotations(
    frame: pl.DataFrame, twins: pl.DataFrame, first: str = "fer2013", second: str = "ferplus"
) -> pl.DataFrame:
    """Join the pictures of one set that came twice, once under each of two annotations.

    Args:
        frame: the rows.
        twins: pairs of rows of the same picture, as row numbers `a` and `b` of the frame with `exact`,
            `correlation`, and whether the pair is `plain` (neither mirrored nor shifted).
        first: the annotation that stays where it is.
        second: the annotation that is taken over.
    """
    labels = [f"labels.{first}", f"labels.{second}"]
    if any(name not in frame.columns for name in labels):
        return frame
    has = [pl.col(f"labels.{name}").is_not_null() for name in (first, second)]
    if f"votes.{second}" in frame.columns:
        has[1] = has[1] | pl.col(f"votes.{second}").is_not_null()
    rows = frame.with_row_index("_row").filter("kept").with_columns(_first=has[0], _second=has[1])
    one = rows.filter(pl.col("_first") & ~pl.col("_second"))
    other = rows.filter(pl.col("_second") & ~pl.col("_first"))
    keys = ["set", "split", "sha256"]
    number = pl.int_range(pl.len()).over(keys).alias("_number")
    exact = one.with_columns(number).join(other.with_columns(number), on=[*keys, "_number"], nulls_equal=True)
    merged = dict(zip(exact["_row_right"].to_list(), exact["_row"].to_list(), strict=True))
    near = _nearest(one, other, twins.filter("plain"), set(merged) | set(merged.values()))
    return merge_rows(frame, merged | near)


def _nearest(one: pl.DataFrame, other: pl.DataFrame, twins: pl.DataFrame, taken: set[int]) -> dict[int, int]:
    """Pairs of rows, each the other's best twin: row to take from, to row that takes."""
    side = {row: (0, key) for row, *key in one.select("_row", "set", "split").iter_rows()}
    side |= {row: (1, key) for row, *key in other.select("_row", "set", "split").iter_rows()}
    merged: dict[int, int] = {}
    for a, b in twins.sort("correlation", descending=True).select("a", "b").iter_rows():
        if a in side and b in side and a not in taken and b not in taken:
            (side_a, key_a), (side_b, key_b) = side[a], side[b]
            if side_a != side_b and key_a == key_b:
                source, target = (a, b) if side_a else (b, a)
                merged[source] = target
                taken |= {a, b}
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
    out = out.with_columns(
        (pl.col("kept") & ~gone).alias("kept"),
        pl.when(gone).then(None).otherwise("pack_row").alias("pack_row"),
        pl.when(gone).then(pl.lit(JOINED)).otherwise("drop_reason").alias("drop_reason"),
        pl.when(gone)
        .then(pl.format("its annotation is with {}", "_target"))
        .otherwise("drop_detail")
        .alias("drop_detail"),
    )
    return out.select(frame.columns)


def drop_rows(frame: pl.DataFrame, rows: set[int], reason: str, detail: str | None = None) -> pl.DataFrame:
    """The frame with some rows no longer kept; those that were dropped already keep their reason."""
    mask = pl.Series([i in rows for i in range(len(frame))], dtype=pl.Boolean)
    return drop_where(frame, mask, reason, detail)


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
