"""The verbs of `mien data`: all stages at once, and each by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import Verb, new_parser, settings_of
from mien.cli.stopping import CONTINUES, on_ctrl_c
from mien.config import AuditConfig, BalanceConfig, PrepareConfig, SplitConfig
from mien.data.sets import names
from mien.errors import InputError


def add_data_verbs(parser: ArgumentParser) -> dict[str, Verb]:
    """Give the parser of `mien data` its verbs; returns what each of them does."""
    verbs = parser.add_subcommands(dest="verb")
    verbs.add_subcommand("prepare", _prepare_parser(), help="one clean data set from raw ones")
    verbs.add_subcommand("read", _read_parser(), help="stage 1: read, detect and crop every picture")
    verbs.add_subcommand("audit", _audit_parser(), help="stage 2: look for twins")
    verbs.add_subcommand("split", _split_parser(), help="stage 3: train, validation and test")
    verbs.add_subcommand("balance", _balance_parser(), help="stage 4: the balance plan of the training split")
    verbs.add_subcommand("card", _card_parser(), help="stage 5: the data card")
    verbs.add_subcommand("inspect", _inspect_parser(), help="what a prepared folder holds")
    return {
        "prepare": _prepare,
        "read": _read,
        "audit": _audit,
        "split": _split,
        "balance": _balance,
        "card": _card,
        "inspect": _inspect,
    }


def _prepare_parser() -> ArgumentParser:
    parser = new_parser(
        "Read raw data sets and write one folder with a manifest, the packed faces and a data card. A second "
        "call does only what is missing.",
        "mien data prepare drawn --out drawn",
        "mien data prepare pictures/ --labels own --out mine",
        "mien data prepare fer2013=fer2013.csv ferplus=fer2013new.csv mine=photos --out hybrid",
    )
    _add_sources(parser)
    parser.add_class_arguments(PrepareConfig)
    return parser


def _read_parser() -> ArgumentParser:
    parser = new_parser(
        "Read every picture of raw data sets once: decode, detect, crop, pack. The settings of later stages "
        "are remembered for them.",
        "mien data read ckplus=CK+ --out hybrid",
    )
    _add_sources(parser)
    parser.add_class_arguments(PrepareConfig)
    return parser


def _add_sources(parser: ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        help=f"NAME=PATH of each set ({', '.join(names())}, or any other name for a folder or csv of your "
        "own), a PATH whose layout is found out, or `drawn`",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def _sources(given: Sequence[str]) -> Any:
    from mien.data.sources.named import sniff

    if list(given) == ["drawn"]:
        return "drawn"
    named: list[tuple[str, Path]] = []
    for part in given:
        name, separator, path = part.partition("=")
        # A path may hold a = itself.
        if not separator or (Path(part).exists() and not Path(path).exists()):
            name, path = sniff(Path(part)), part
        elif not name or not path:
            raise InputError(
                f"{part!r} is no data set; write NAME=PATH, or a PATH whose layout is found out."
            )
        named.append((name, Path(path)))
    return named


def _prepare(options: Namespace) -> None:
    from mien.data.prepare import prepare
    from mien.progress import Reporter

    with on_ctrl_c(CONTINUES):
        prepare(
            _sources(options.sources), options.out, settings_of(PrepareConfig, options), reporter=Reporter()
        )
        _show(options.out)


def _read(options: Namespace) -> None:
    from mien.data.prepare import read_sources
    from mien.progress import Reporter

    with on_ctrl_c(CONTINUES):
        stages = read_sources(
            _sources(options.sources), options.out, settings_of(PrepareConfig, options), reporter=Reporter()
        )
        rows = stages.reading.rows()
    lines = [f"{len(rows):,} pictures read, {int(rows['kept'].sum()):,} of them can be used."]
    reasons = rows.filter(~rows["kept"])["drop_reason"].value_counts().sort("drop_reason")
    lines += [f"- {reason}: {count:,}" for reason, count in reasons.iter_rows()]
    print("\n".join(lines))  # noqa: T201


def _audit_parser() -> ArgumentParser:
    parser = new_parser(
        "Look for the same picture standing twice.",
        "mien data audit hybrid",
        "mien data audit hybrid --audit.near false",
    )
    _add_folder(parser)
    _add_settings(parser, "audit", AuditConfig)
    return parser


def _audit(options: Namespace) -> None:
    from mien.data.prepare import audit
    from mien.progress import Reporter

    with on_ctrl_c(CONTINUES):
        pairs = audit(options.folder, _remembered(options, "audit"), reporter=Reporter(), remember=True)
    exact = int(pairs.exact.sum())
    print(  # noqa: T201
        f"{len(pairs.a):,} pairs of twins: {exact:,} exact, {len(pairs.a) - exact:,} near, of which "
        f"{int(pairs.mirrored.sum()):,} mirrored. `mien data split {options.folder}` writes them into the "
        "manifest."
    )


def _split_parser() -> ArgumentParser:
    parser = new_parser(
        "Choose train, validation and test anew.",
        "mien data split hybrid --splits.policy clean",
    )
    _add_folder(parser)
    _add_settings(parser, "splits", SplitConfig)
    parser.add_argument("--target", type=str | None, help="what is learned, as in `mien data prepare`")
    parser.add_argument("--seed", type=int | None, help="seed of drawn splits and of the balance plan")
    return parser


def _split(options: Namespace) -> None:
    _finish(options, _remembered(options, "splits", "target", "seed"))


def _balance_parser() -> ArgumentParser:
    parser = new_parser("Make the balance plan anew.", "mien data balance hybrid --balance.target 3000")
    _add_folder(parser)
    _add_settings(parser, "balance", BalanceConfig)
    return parser


def _balance(options: Namespace) -> None:
    _finish(options, _remembered(options, "balance"))


def _finish(options: Namespace, config: PrepareConfig) -> None:
    from mien.data.prepare import finish
    from mien.progress import Reporter

    with on_ctrl_c(CONTINUES):
        finish(options.folder, config, reporter=Reporter())
        _show(options.folder)


def _add_settings(parser: ArgumentParser, group: str, settings: type) -> None:
    """A flag for each setting of a stage; what is not typed stays as the folder remembers it."""
    kinds = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        parser.add_argument(
            f"--{group}.{field.name}",
            type=kinds[field.name] | None,
            default=None,
            help="see mien data prepare --help",
        )


def _remembered(options: Namespace, group: str, *plain: str) -> PrepareConfig:
    """The settings that the folder was last prepared with, but for those that were typed now."""
    from mien.data.stages import Stages

    config = Stages.read(options.folder).config
    typed = {name: value for name, value in vars(options[group]).items() if value is not None}
    changed: dict[str, Any] = {group: dataclasses.replace(getattr(config, group), **typed)}
    changed |= {name: options[name] for name in plain if options[name] is not None}
    return dataclasses.replace(config, **changed)


def _card_parser() -> ArgumentParser:
    parser = new_parser("Write the data card anew.", "mien data card hybrid --samples 0")
    _add_folder(parser)
    parser.add_argument("--samples", type=int, default=12, help="faces of each class that the card shows")
    return parser


def _card(options: Namespace) -> None:
    if options.samples < 0:
        raise InputError(f"samples is {options.samples}; it must be 0 or more.")
    _show(options.folder, samples=options.samples)


def _show(folder: Path, **options: int) -> None:
    from mien.report.data_card import card_markdown, write_card

    print(card_markdown(write_card(folder, **options)))  # noqa: T201
    print(f"data card: {folder / 'card.html'}")  # noqa: T201


def _inspect_parser() -> ArgumentParser:
    parser = new_parser(
        "Print what a prepared folder holds: counts, what was dropped and why, twins, the manifest's hash.",
        "mien data inspect hybrid",
    )
    _add_folder(parser)
    return parser


def _inspect(options: Namespace) -> None:
    from mien.report.data_card import card_markdown, summarise_folder

    print(card_markdown(summarise_folder(options.folder)))  # noqa: T201


def _add_folder(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder that mien data prepare or read wrote")
