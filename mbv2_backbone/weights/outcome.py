"""Report what was loaded, from where, and what was not."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..common.messages import first_names
from .origin import Origin


@dataclass(frozen=True)
class Report:
    """The outcome of a conversion; its `str()` is one line.

    Attributes:
        layout: Name of the layout that was recognised.
        prefix: The prefix of the backbone's names, such as `backbone.`.
        widen_factor: The width inferred from the shapes.
        round_to: What the channels are multiples of; see `MobileNetV2Backbone`.
        filled: How many of the wanted tensors were filled.
        total: How many tensors were wanted.
        origin: The input, padding and batch norm that the weights need.
        zeroed: Those that are `num_batches_tracked` counters missing from the source; they count
            from 0.
        left_over: Names in the source that were not used, by reason.
        missing: Wanted tensors that kept their values; empty unless loaded with `strict=False`.
        notes: Anything else worth knowing, one sentence each.
        source: Where the weights came from.
    """

    layout: str
    prefix: str
    widen_factor: float
    filled: int
    total: int
    origin: Origin
    round_to: int = 8
    zeroed: tuple[str, ...] = ()
    left_over: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = 'state dict'

    def __str__(self) -> str:
        prefix = f" under '{self.prefix}'" if self.prefix else ''
        facts = [
            f'{self.source}: {self.layout} layout{prefix}',
            f'width {self.widen_factor:g}'
            + (f', channels in multiples of {self.round_to}' if self.round_to != 8 else ''),
            f'{self.filled} of {self.total} tensors filled',
        ]
        if self.zeroed:
            facts.append(f'{len(self.zeroed)} of them absent batch counters, set to 0')
        if self.missing:
            facts.append(f'kept their values: {first_names(self.missing)}')
        for reason, names in self.left_over.items():
            facts.append(f'left over, {reason}: {first_names(names)}')
        return '; '.join([*facts, str(self.origin), *self.notes])
