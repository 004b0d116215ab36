"""A demonstration for those who use Gradio already: a picture in, its faces out.

`mien serve` is the page that mien makes itself, with a live picture and videos; it keeps no picture, while
Gradio writes each one to its folder of temporary files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.card import USE_WARNING
from mien.errors import MissingExtra
from mien.runtime.classifier import Model, load

if TYPE_CHECKING:
    import gradio

_KEPT_SECONDS: Final = 60
"""Files of pictures are deleted when they are so old, and all of them when the page is closed."""


def gradio_demo(model: Model | None = None) -> gradio.Blocks:
    """A Gradio page that reads one picture at a time; `.launch()` opens it.

    Gradio's telemetry is off, and its button that sends a picture to a public site is not shown.

    Args:
        model: reads the faces; none takes the one that comes with mien.

    Raises:
        MissingExtra: gradio is not installed.
    """
    try:
        import gradio
    except ModuleNotFoundError:
        raise MissingExtra("the demonstration", "gradio") from None
    chosen = load() if model is None else model

    def read(picture: NDArray[np.uint8] | None) -> tuple[Any, dict[str, float] | None]:
        """The marked picture, and the shares of its surest face."""
        if picture is None:
            return None, None
        faces = chosen.read(picture)
        return faces.annotated(bars=False), dict(faces[0].probabilities) if faces else None

    with gradio.Blocks(
        title="mien", analytics_enabled=False, delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS)
    ) as demo:
        gradio.Markdown(f"# mien\n{USE_WARNING}")
        with gradio.Row():
            picture = gradio.Image(
                label="Picture", sources=["upload", "webcam", "clipboard"], buttons=["fullscreen"]
            )
            marked = gradio.Image(label="Faces", interactive=False, buttons=["download", "fullscreen"])
        shares = gradio.Label(label="The surest face")
        picture.change(read, picture, [marked, shares], api_name="read", show_progress="hidden")
    return demo
