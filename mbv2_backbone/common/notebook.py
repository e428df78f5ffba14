"""Show pictures and progress below the cell of a notebook."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any


def in_notebook() -> bool:
    """Return whether the kernel of a notebook runs this code: Jupyter, Colab, VS Code and so on."""
    from rich.console import Console

    return Console().is_jupyter


class Output:
    """One output of the running cell, which each call replaces; outside notebooks nothing."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, content: object) -> None:
        """Show what IPython can display."""
        if not in_notebook():
            return
        from IPython.display import display

        if self._handle is None:
            self._handle = display(content, display_id=True)
        else:
            self._handle.update(content)

    def show_picture(self, picture: str | bytes) -> None:
        """Show a PNG or JPEG file, or its content."""
        if in_notebook():
            from IPython.display import Image

            self.show(Image(picture))

    def show_page(self, path: Path) -> None:
        """Show an HTML file that needs no other, in a frame."""
        if in_notebook():
            from IPython.display import HTML

            text = html.escape(path.read_text(encoding='utf-8'))
            self.show(
                HTML(f'<div><iframe srcdoc="{text}" width="100%" height="600"></iframe></div>')
            )
