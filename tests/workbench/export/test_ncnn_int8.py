"""8-bit weights of ncnn, on one convolution after another."""

import numpy as np
import pytest

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.export.ncnn_layers import NcnnModel

pytestmark = pytest.mark.runtime
# Convolution 3 -> 3, which stays float32; one to 4, its copies read by a depthwise one with ReLU6
# and, with it, by an addition.
TEXT = """7767517
7 8
Input image 0 1 image
Convolution stem 1 1 image x 0=3 1=1 5=1 6=9
Convolution first 1 1 x a 0=4 1=3 4=1 5=1 6=108
ConvolutionDepthWise second 1 1 a b 0=4 1=3 4=1 5=1 6=36 7=4 9=3 -23310=2,0.0,6.0
Split split 1 2 b b0 b1
Convolution third 1 1 b0 c 0=4 1=1 5=1 6=16
BinaryOp sum 2 1 b1 c out 0=0
"""


def random_model(rng):
    def convolution(num_weights, num_outputs=4, scale=0.3):
        values = rng.normal(0, scale, num_weights), rng.normal(0, 0.1, num_outputs)
        return b'\0\0\0\0' + b''.join(value.astype('<f4').tobytes() for value in values)

    weights = convolution(9, 3, 0.7) + b''.join(convolution(size) for size in (108, 36, 16))
    return NcnnModel.from_text(TEXT, weights)


def run(model, folder, image):
    import ncnn

    from mbv2_backbone.deploy.ncnn_runtime import open_net, planes

    path = folder / 'model.param'
    path.write_text(model.to_text())
    path.with_suffix('.bin').write_bytes(model.weights)
    extractor = open_net(ncnn, str(path), 1).create_extractor()
    array = planes(image)
    extractor.input('image', ncnn.Mat(array))
    return np.array(extractor.extract('out')[1])


def test_ncnn_reads_the_8_bit_model(rng, tmp_path):
    from mbv2_backbone.workbench.export.ncnn_int8 import quantise

    model = random_model(rng)
    images = list(rng.uniform(0, 4, (3, 12, 16, 3)).astype(np.float32))
    small = quantise(model, images)
    terms = {layer.name: layer.number(8) for layer in small.layers}
    # The first writes 8 bits for the second; the second's output is also added.
    assert terms == dict(image=0, stem=0, first=102, second=1, split=0, third=2, sum=0)
    for image in images:
        expected, found = (run(each, tmp_path, image) for each in (model, small))
        assert expected.std() > 0.5
        assert np.abs(found - expected).mean() < 0.05 * expected.std()


def test_weights_that_are_not_known_are_refused(rng):
    from mbv2_backbone.workbench.export.ncnn_int8 import weights_of

    model = random_model(rng)
    with pytest.raises(UserError, match='this model has others'):
        weights_of(NcnnModel(model.layers, model.weights + b'1234'))
