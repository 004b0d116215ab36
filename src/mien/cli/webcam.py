"""The verb that shows the camera."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import add_model_options, new_parser


def webcam_parser() -> ArgumentParser:
    """Options of `mien webcam`."""
    parser = new_parser(
        "A window with the camera's picture and the faces in it; space pauses, m mirrors, s saves the "
        "picture, q ends. Nothing is kept or sent.",
        "mien webcam",
        "mien webcam --camera 1 --labels 7",
    )
    parser.add_argument(
        "--camera", type=str, default="0", help="number or name of the camera, or a video file in its place"
    )
    add_model_options(parser)
    parser.add_argument("--no-mirror", action="store_true", help="show the picture as others see it")
    parser.add_argument("--most-frames", type=int | None, help="end after so many")
    return parser


def webcam(options: Namespace) -> None:
    """Do it."""
    from mien.apps.webcam import show_webcam
    from mien.runtime.classifier import load

    summary = show_webcam(
        load(options.model),
        camera=options.camera,
        prior=options.prior,
        view=options.labels,
        mirror=not options.no_mirror,
        most_frames=options.most_frames,
    )
    print(  # noqa: T201
        f"{summary.frames:,} frames, {summary.faces:,} faces, {summary.rate:.1f} frames/s, "
        f"{1000 * summary.latency:.0f} ms from camera to window"
    )
