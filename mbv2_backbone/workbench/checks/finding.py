"""One finding of a check: its level, its message and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal['ok', 'warning', 'error']


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: `error` if it keeps a config from training.
        what: What was found.
        fix: The command or other action that fixes it; empty if all is well.
    """

    level: Level
    what: str
    fix: str = ''

    def __str__(self) -> str:
        text = f'{self.level:8} ' + self.what.replace('\n', '\n' + ' ' * 9)
        return text + (f'\n{"":9}fix: {self.fix}' if self.fix else '')
