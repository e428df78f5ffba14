"""The layers of an ncnn model: read from and written to its `.param` text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...common.messages import UserError, first_names

_MAGIC = '7767517'


@dataclass(frozen=True)
class Layer:
    """A line of a `.param` file.

    Attributes:
        kind: Type of the layer.
        name: Its name.
        inputs: Names of the blobs that it reads.
        outputs: Names of the blobs that it writes.
        params: Its settings as text, by number.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        settings = [f'{key}={value}' for key, value in self.params.items()]
        sizes = (str(len(self.inputs)), str(len(self.outputs)))
        return ' '.join([self.kind, self.name, *sizes, *self.inputs, *self.outputs, *settings])

    def number(self, key: int, default: int = 0) -> int:
        """Return a setting that is an integer."""
        return int(self.params.get(key, default))

    def with_params(self, params: Mapping[int, object]) -> Layer:
        """Return the layer with some settings changed."""
        return replace(self, params=self.params | {k: str(v) for k, v in params.items()})

    def renamed(self, names: Mapping[str, str]) -> Layer:
        """Return the layer with other names for some blobs."""
        inputs, outputs = (
            tuple(names.get(name, name) for name in part) for part in (self.inputs, self.outputs)
        )
        return replace(self, inputs=inputs, outputs=outputs)


@dataclass(frozen=True)
class NcnnModel:
    """An ncnn model.

    Attributes:
        layers: In the order of execution.
        weights: Content of the `.bin` file.
    """

    layers: tuple[Layer, ...]
    weights: bytes

    @classmethod
    def from_text(cls, text: str, weights: bytes) -> NcnnModel:
        """Read the content of a `.param` file."""
        return cls(tuple(_parse(line) for line in text.splitlines()[2:]), weights)

    def to_text(self) -> str:
        """Return the content of the `.param` file."""
        blobs = sum(len(layer.outputs) for layer in self.layers)
        lines = [_MAGIC, f'{len(self.layers)} {blobs}', *map(str, self.layers)]
        return '\n'.join(lines) + '\n'


def _parse(line: str) -> Layer:
    kind, name, num_inputs, num_outputs, *rest = line.split()
    first, last = int(num_inputs), int(num_inputs) + int(num_outputs)
    params = dict(word.split('=', 1) for word in rest[last:])
    numbered = {int(key): value for key, value in params.items()}
    return Layer(kind, name, tuple(rest[:first]), tuple(rest[first:last]), numbered)


def check_layers(layers: Sequence[Layer], is_known: Callable[[str], bool]) -> None:
    """Refuse layers that ncnn does not have; pnnx writes them without an error.

    Args:
        layers: Layers of a model.
        is_known: Whether ncnn has a type of layer.

    Raises:
        UserError: It names them.
    """
    unknown = Counter(layer.kind for layer in layers if not is_known(layer.kind))
    if unknown:
        names = first_names([f'{kind} ({count})' for kind, count in unknown.items()], 5)
        raise UserError(f'ncnn has no layers for these operations of the model: {names}')


def with_splits(layers: Sequence[Layer]) -> list[Layer]:
    """Add the `Split` layers that ncnn needs where several layers read one blob."""
    readers = Counter(name for layer in layers for name in layer.inputs)
    copies: dict[str, Iterator[str]] = {}
    result: list[Layer] = []
    for layer in layers:
        inputs = tuple(next(copies[name]) if name in copies else name for name in layer.inputs)
        result.append(replace(layer, inputs=inputs))
        for name in layer.outputs:
            if readers[name] > 1:
                names = tuple(f'{name}_{i}' for i in range(readers[name]))
                copies[name] = iter(names)
                result.append(Layer('Split', f'split_{name}', (name,), names))
    return result


class Builder:
    """Layers to be added to a model; each method adds some and returns the new blob.

    Attributes:
        layers: The layers.
        weights: Their weights, as the `.bin` file holds them.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.layers: list[Layer] = []
        self.weights = b''

    def add(
        self, kind: str, *inputs: str, outputs: int = 1, **params: object
    ) -> str | tuple[str, ...]:
        """Add a layer; its settings are named `p0`, `p1` and so on."""
        name = f'{self._prefix}{len(self.layers)}'
        names = tuple(f'{name}_{i}' for i in range(outputs)) if outputs > 1 else (name,)
        numbered = {int(key[1:]): str(value) for key, value in params.items()}
        self.layers.append(Layer(kind, name, inputs, names, numbered))
        return names if outputs > 1 else name

    def constant(self, value: np.ndarray) -> str:
        """Add an array `(rows, columns)`."""
        self.weights += np.ascontiguousarray(value, '<f4').tobytes()
        return self.add('MemoryData', p0=value.shape[1], p1=value.shape[0])

    def split(self, blob: str, sizes: Sequence[int], *, axis: int) -> tuple[str, ...]:
        """Cut a blob at an axis."""
        text = ','.join(map(str, (len(sizes), *sizes)))
        layer = dict(p1=axis)
        return self.add('Slice', blob, outputs=len(sizes), **layer, **{'p-23300': text})

    def join(self, *blobs: str, axis: int) -> str:
        """Concatenate blobs."""
        return self.add('Concat', *blobs, p0=axis)

    def transpose(self, blob: str) -> str:
        """Swap rows and columns."""
        return self.add('Permute', blob, p0=1)

    def binary(self, operation: str, a: str, b: str | float) -> str:
        """Combine a blob with another, or with a number."""
        kind = ('add', 'sub', 'mul', 'div', 'max', 'min', 'pow', 'rsub').index(operation)
        if isinstance(b, str):
            return self.add('BinaryOp', a, b, p0=kind)
        return self.add('BinaryOp', a, p0=kind, p1=1, p2=f'{b:.9e}')

    def clip(self, blob: str) -> str:
        """Clip to the range from 0 to 1."""
        return self.add('Clip', blob, p0='0.0', p1='1.0')

    def magnitude(self, blob: str) -> str:
        """Drop the signs."""
        return self.add('UnaryOp', blob, p0=0)
