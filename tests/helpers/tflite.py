"""TensorFlow Lite models of a backbone, with the names of the TF Object Detection API."""

import io
import json
import tarfile

import flatbuffers
import numpy as np
import tflite
from torch import nn

from mbv2_backbone.weights.layouts.tensorflow_names import LAYOUT
from mbv2_backbone.workbench.predict.fold import folded

KINDS = (
    tflite.BuiltinOperator.DEQUANTIZE,
    tflite.BuiltinOperator.CONV_2D,
    tflite.BuiltinOperator.DEPTHWISE_CONV_2D,
)
PREDICTOR = (np.ones((24, 1, 1, 8), np.float32), np.ones(24, np.float32))


class Writer:
    """Build a model operator by operator, with the part of the schema that the reader uses."""

    def __init__(self, half):
        self.half = half
        self.builder = flatbuffers.Builder(1024)
        self.buffers, self.tensors, self.operators = [], [], []

    def vector(self, start, offsets):
        start(self.builder, len(offsets))
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def tensor(self, name, values=None, kind=tflite.TensorType.FLOAT32):
        data = b'' if values is None else values.tobytes()
        data = self.builder.CreateByteVector(data)
        tflite.BufferStart(self.builder)
        tflite.BufferAddData(self.builder, data)
        self.buffers.append(tflite.BufferEnd(self.builder))
        shape = self.builder.CreateNumpyVector(np.array(np.shape(values), np.int32))
        name = self.builder.CreateString(name)
        tflite.TensorStart(self.builder)
        tflite.TensorAddShape(self.builder, shape)
        tflite.TensorAddType(self.builder, kind)
        tflite.TensorAddBuffer(self.builder, len(self.buffers) - 1)
        tflite.TensorAddName(self.builder, name)
        self.tensors.append(tflite.TensorEnd(self.builder))
        return len(self.tensors) - 1

    def operator(self, kind, inputs, outputs):
        inputs = self.builder.CreateNumpyVector(np.array(inputs, np.int32))
        outputs = self.builder.CreateNumpyVector(np.array(outputs, np.int32))
        tflite.OperatorStart(self.builder)
        tflite.OperatorAddOpcodeIndex(self.builder, KINDS.index(kind))
        tflite.OperatorAddInputs(self.builder, inputs)
        tflite.OperatorAddOutputs(self.builder, outputs)
        self.operators.append(tflite.OperatorEnd(self.builder))

    def constant(self, name, values):
        if not self.half:
            is_int8 = values.dtype == np.int8
            kind = tflite.TensorType.INT8 if is_int8 else tflite.TensorType.FLOAT32
            return self.tensor(name, values, kind)
        stored = self.tensor(name, values.astype(np.float16), tflite.TensorType.FLOAT16)
        made = self.tensor(f'{name}_dequantize')
        self.operator(tflite.BuiltinOperator.DEQUANTIZE, [stored], [made])
        return made

    def convolution(self, name, weight, bias, depthwise=False):
        inputs = [self.tensor('x'), self.constant(name, weight)]
        if bias is not None:
            inputs.append(self.constant(f'{name}/b', bias) if len(bias) else -1)
        kind = KINDS[2] if depthwise else KINDS[1]
        self.operator(kind, inputs, [self.tensor('y')])

    def finish(self):
        codes = []
        for kind in KINDS:
            tflite.OperatorCodeStart(self.builder)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(self.builder, kind)
            codes.append(tflite.OperatorCodeEnd(self.builder))
        tensors = self.vector(tflite.SubGraphStartTensorsVector, self.tensors)
        operators = self.vector(tflite.SubGraphStartOperatorsVector, self.operators)
        tflite.SubGraphStart(self.builder)
        tflite.SubGraphAddTensors(self.builder, tensors)
        tflite.SubGraphAddOperators(self.builder, operators)
        graphs = [tflite.SubGraphEnd(self.builder)]
        codes = self.vector(tflite.ModelStartOperatorCodesVector, codes)
        graphs = self.vector(tflite.ModelStartSubgraphsVector, graphs)
        buffers = self.vector(tflite.ModelStartBuffersVector, self.buffers)
        tflite.ModelStart(self.builder)
        tflite.ModelAddOperatorCodes(self.builder, codes)
        tflite.ModelAddSubgraphs(self.builder, graphs)
        tflite.ModelAddBuffers(self.builder, buffers)
        self.builder.Finish(tflite.ModelEnd(self.builder), b'TFL3')
        return bytes(self.builder.Output())


def model_of(backbone, *, half=False, kind=np.float32):
    """Return a detector's `.tflite`: the backbone with folded batch norms, and box predictors."""
    writer, root = Writer(half), 'FeatureExtractor/MobilenetV2'
    layers = {module: layer for layer, module in LAYOUT.modules.items()}
    convs = {
        name.removesuffix('.conv'): module
        for name, module in folded(backbone).named_modules()
        if isinstance(module, nn.Conv2d)
    }
    for index, (unit, conv) in enumerate(convs.items()):
        weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        depthwise = conv.groups > 1
        weight = weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1)).copy()
        name = f'{root}/{layers[unit]}'
        # TensorFlow names a tensor that two operators share after both of them.
        name += '/BatchNorm/FusedBatchNormV3;BoxPredictor_5' if depthwise else '/Conv2D'
        writer.convolution(name, weight.astype(kind), bias, depthwise)
        if index == len(convs) // 2:
            writer.convolution('BoxPredictor_0/BoxEncodingPredictor/Conv2D', *PREDICTOR)
    writer.convolution(f'{root}/layer_19_1_Conv2d_2_1x1_256/Conv2D', *PREDICTOR)
    return writer.finish()


def other_model():
    """Return the `.tflite` of a network that is not a MobileNetV2."""
    writer = Writer(False)
    writer.convolution('MobilenetV1/Conv2d_0/Conv2D', *PREDICTOR)
    return writer.finish()


def pack(model, path):
    """Write a model as in MediaPipe's npm package: after a list of classes, in one file."""
    labels = b'???\nCar\n'
    files = [
        dict(filename='/labels.txt', start=0, end=len(labels)),
        dict(
            filename='/third_party/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite',
            start=len(labels),
            end=len(labels) + len(model),
        ),
    ]
    members = {
        'package/package.json': b'{}',
        'package/assets_loader.js': f'load({json.dumps(dict(files=files))});'.encode(),
        'package/assets.data': labels + model,
    }
    with tarfile.open(path, 'w:gz') as package:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            package.addfile(member, io.BytesIO(data))
    return path
