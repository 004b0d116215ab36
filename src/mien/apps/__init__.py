"""The page and the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.apps.gradio import gradio_demo

__all__ = ["gradio_demo"]


def __getattr__(name: str) -> Any:
    if name != "gradio_demo":
        raise AttributeError(f"module 'mien.apps' has no attribute {name!r}")
    from mien.apps.gradio import gradio_demo

    return gradio_demo
