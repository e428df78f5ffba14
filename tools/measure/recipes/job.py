"""One recorded training run: its config, its seed and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One training run.

    Attributes:
        name: Name of its row in the table.
        config: Path of the config.
        seed: Seed of all random numbers.
        options: `key=value` overrides.
        flags: Other flags for tools/train.py.
        out: Folder of the records.
        work_dirs: Folder of the run's work directory.
    """

    name: str
    config: str
    seed: int = 0
    options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    out: str = 'docs/accuracy'
    work_dirs: str = 'work_dirs/accuracy'

    @property
    def path(self) -> Path:
        """The record of the run."""
        return Path(self.out, f'{self.name}-seed{self.seed}.json')

    @property
    def work_dir(self) -> Path:
        """The folder of logs and checkpoints."""
        return Path(self.work_dirs, f'{self.name}-seed{self.seed}')

    @property
    def overrides(self) -> list[str]:
        """The overrides with the seed."""
        return [*self.options, f'randomness.seed={self.seed}']

    @property
    def arguments(self) -> list[str]:
        """The arguments of `tools/train.py` that repeat the run."""
        return [self.config, *self.flags, '--cfg-options', *self.overrides]
