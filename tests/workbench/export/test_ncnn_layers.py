"""Layers of ncnn as text."""

import pytest

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.export.ncnn_layers import (
    Builder,
    Layer,
    NcnnModel,
    check_layers,
    with_splits,
)

TEXT = """7767517
4 5
Input in0 0 1 image
Convolution conv 1 1 image 1 0=8 1=3 -23310=2,0.0,6.0 6=216
Slice cut 1 2 1 a b -23300=2,2,-233 1=0
Reshape shape 1 1 b c 0=4 6="1,1,//(32,0n),0n"
"""


def test_a_model_is_written_as_it_was_read():
    model = NcnnModel.from_text(TEXT, b'1234')
    assert model.to_text() == TEXT
    assert model.layers[2].outputs == ('a', 'b')
    assert model.layers[1].number(6) == 216
    assert model.layers[1].number(9) == 0


def test_layers_that_ncnn_lacks_are_named():
    layers = NcnnModel.from_text(TEXT, b'').layers
    check_layers(layers, lambda _: True)
    with pytest.raises(UserError, match=r'no layers for these .* model: Slice \(1\), Reshape'):
        check_layers(layers, lambda kind: kind in ('Input', 'Convolution'))


def test_a_blob_with_several_readers_is_split():
    build = Builder('x')
    twice = build.binary('add', 'in', 1.0)
    build.binary('mul', twice, twice)
    layers = with_splits([Layer('Input', 'in', (), ('in',)), *build.layers])
    assert [layer.kind for layer in layers] == ['Input', 'BinaryOp', 'Split', 'BinaryOp']
    assert layers[3].inputs == layers[2].outputs == ('x0_0', 'x0_1')
