"""Our models as the files of TensorFlow 1: variables by its names, and frozen graphs of them."""

import re

import numpy as np
from tensorboard.compat.proto.graph_pb2 import GraphDef

from mbv2_backbone.weights.layouts.tensorflow_names import LAYOUT
from mbv2_backbone.weights.layouts.tensorflow_parts import COCO_GAPS

NORM = dict(weight='gamma', bias='beta', running_mean='moving_mean', running_var='moving_variance')
SSDLITE = 'FeatureExtractor/MobilenetV2/'
EXTRA_CHANNELS = (512, 256, 256, 128)
COCO_COLUMNS = [i for i in range(1, 91) if i not in COCO_GAPS]


def ssdlite_layer(module):
    """The Object Detection API's layer of one of our modules around the backbone."""
    part, kind, level, *rest = module.split('.')
    level, rest = int(level), '.'.join(rest)
    if part == 'neck':
        number, channels = level + 2, EXTRA_CHANNELS[level]
        if rest == '0':
            return f'{SSDLITE}layer_19_1_Conv2d_{number}_1x1_{channels // 2}'
        layer = f'{SSDLITE}layer_19_2_Conv2d_{number}_3x3_s2_{channels}'
        return f'{layer}_depthwise' if rest == '1.depthwise_conv' else layer
    name = 'BoxEncodingPredictor' if kind == 'reg_convs' else 'ClassPredictor'
    return f'BoxPredictor_{level}/{name}' + ('_depthwise' if rest == '0' else '')


def deeplab_layer(module):
    """DeepLab's layer of one of our modules around the backbone."""
    names = {
        'decode_head.image_pool.conv': 'image_pooling',
        'decode_head.bottleneck': 'concat_projection',
        'decode_head.conv_seg': 'logits/semantic',
    }
    number = re.search(r'aspp_modules\.(\d+)', module)
    return f'aspp{number[1]}' if number else names[module]


def variables_of(model, around, prefix):
    """TensorFlow's variables, numpy arrays in its axes, of a model.

    Args:
        model: The model; its predictors of classes and box codes keep our order.
        around: `ssdlite_layer` or `deeplab_layer`.
        prefix: What the names of the backbone begin with.
    """
    layers = {module: prefix + layer for layer, module in LAYOUT.modules.items()}
    found = {}
    for name, tensor in model.state_dict().items():
        module, _, leaf = name.rpartition('.')
        if leaf == 'num_batches_tracked':
            continue
        is_norm = module.endswith('.bn')
        module = module.removesuffix('.bn').removesuffix('.conv' if leaf == 'weight' else '')
        if is_norm:
            module = name.rpartition('.')[0].removesuffix('.bn')
        backbone = module.removeprefix('backbone.')
        layer = layers[backbone] if module.startswith('backbone.') else around(module)
        if is_norm:
            found[f'{layer}/BatchNorm/{NORM[leaf]}'] = tensor.numpy()
        elif leaf == 'bias':
            found[f'{layer}/biases'] = tensor.numpy()
        elif tensor.shape[1] == 1 and tensor.shape[-1] == 3:
            found[f'{layer}/depthwise_weights'] = tensor.numpy().transpose(2, 3, 0, 1)
        else:
            found[f'{layer}/weights'] = tensor.numpy().transpose(2, 3, 1, 0)
    return found


def write_graph(variables, path, *, kind='Const'):
    """Write a frozen graph: constants that are read, and one that is not a variable."""
    graph = GraphDef()
    for name, values in {**variables, 'Preprocessor/sub/y': np.float32([2, 2])}.items():
        node = graph.node.add(name=name, op=kind)
        tensor = node.attr['value'].tensor
        tensor.dtype = {np.float32: 1, np.float64: 2, np.float16: 19}[values.dtype.type]
        for size in values.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = np.ascontiguousarray(values).tobytes()
        if name in variables:
            graph.node.add(name=f'{name}/read', op='Identity', input=[name])
    path.write_bytes(graph.SerializeToString())
    return path


def outputs_by_prior(array, num):
    return array.reshape(*array.shape[:-1], -1, num)


def detector_variables(model, num_outputs=91, columns=COCO_COLUMNS):
    """Variables of a detector: codes as y, x, h, w, and class outputs at the given columns."""
    variables = variables_of(model, ssdlite_layer, SSDLITE)
    for name in [name for name in variables if name.endswith(('weights', 'biases'))]:
        array = variables[name]
        if '/BoxEncodingPredictor/' in name:
            codes = outputs_by_prior(array, 4)[..., [1, 0, 3, 2]]
            variables[name] = codes.reshape(array.shape).copy()
        elif '/ClassPredictor/' in name:
            ours = outputs_by_prior(array, len(columns))
            all_outputs = np.full((*ours.shape[:-1], num_outputs), 99, np.float32)
            all_outputs[..., columns] = ours
            variables[name] = all_outputs.reshape(*array.shape[:-1], -1)
    return variables
