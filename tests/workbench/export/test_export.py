"""tools/export.py from config and checkpoint to a file, and what it refuses."""

import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
from helpers.deploy import DETECTION, random_images, write_config
from helpers.paths import ROOT
from helpers.small import tool
from mmengine.registry import MODELS
from mmengine.runner import Runner
from packaging.requirements import Requirement

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.configs.plan import apply_steps
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export import export as export_module
from mbv2_backbone.workbench.export.export import export
from mbv2_backbone.workbench.export.int8 import between_convolutions
from mbv2_backbone.workbench.export.measure import Quantised, evaluate_exported, headline_metrics
from mbv2_backbone.workbench.predict.exported_model import exported_steps
from mbv2_backbone.workbench.predict.file_predictor import array_pipeline

pytestmark = pytest.mark.runtime


export_tool = partial(tool, 'export')


@pytest.fixture(scope='module')
def small(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('small')
    return write_config(folder, DETECTION, 'ssdlite_mbv2_sample', sample_dataset)


@pytest.fixture(scope='module')
def quantised(small, tmp_path_factory):
    """The result of `--to openvino --int8`."""
    config, checkpoint, options = small
    out = tmp_path_factory.mktemp('openvino')
    result = export_tool(
        config, checkpoint, '--to', 'openvino', '--int8', '--out', out,
        '--calibration-images', 12, '--cfg-options', *options,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return out, result.stdout


def test_help_is_fast():
    begin = time.perf_counter()
    result = export_tool('--help')
    assert time.perf_counter() - begin < 1
    assert '--dynamic-batch' in result.stdout


def test_the_tool_shows_its_comparison_and_the_cost_of_8_bits(quantised):
    out, text = quantised
    assert {path.name for path in out.iterdir()} == {
        'ssdlite_mbv2_sample.xml', 'ssdlite_mbv2_sample.bin',
        'ssdlite_mbv2_sample_int8.xml', 'ssdlite_mbv2_sample_int8.bin',
    }  # fmt: skip
    for line in ('largest difference of the raw scores', 'IoU at least', 'bbox_mAP', 'latency'):
        assert line in text
    size = next(line.split() for line in text.splitlines() if line.startswith('size'))
    assert float(size[2]) < 0.8 * float(size[1])


def test_8_bits_stay_near_32(quantised):
    out, _ = quantised
    images = random_images(4, (128, 128))
    whole = Predictor(out / 'ssdlite_mbv2_sample.xml', threads=1)
    small = Predictor(out / 'ssdlite_mbv2_sample_int8.xml', threads=1)
    assert small.metadata.precision == 'int8'
    assert small.metadata.detection == whole.metadata.detection
    for image in images:
        a, b = whole(image), small(image)
        assert min(len(a.scores), len(b.scores)) >= 10
        assert abs(a.scores[:10].mean() - b.scores[:10].mean()) < 0.15


def test_neighbouring_weights_do_not_overflow(quantised):
    """Without VNNI, the products of two neighbours are added in 16 bits."""
    import openvino

    out, _ = quantised
    model = openvino.Core().read_model(out / 'ssdlite_mbv2_sample_int8.xml')
    weights = [
        operation.data.astype(int)
        for operation in model.get_ordered_ops()
        if operation.get_type_name() == 'Constant'
        and operation.get_element_type().to_string() == 'i8'
    ]
    dense = [
        values.reshape(len(values), -1, 2)
        for values in weights
        if values.shape[2:] == (1, 1) and values.shape[1] > 1
    ]
    assert len(dense) > 40
    assert max(np.abs(pairs.sum(2)).max() for pairs in dense) * 255 < 2**15
    assert max(np.abs(pairs).max() for pairs in dense) > 100


def test_an_exported_file_replaces_a_model(quantised, small):
    out, _ = quantised
    config, _, options = small
    path = str(out / 'ssdlite_mbv2_sample.xml')
    cfg = load_config(config, options)
    cfg = apply_steps(cfg, exported_steps(path, summarise(cfg)))
    model = MODELS.build(cfg.model)
    image = random_images(1, (192, 144))[0]
    packed = array_pipeline(cfg)(dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=0))
    sample = model.test_step(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))
    expected = Predictor(path)(image)
    assert np.allclose(sample[0].pred_instances.bboxes, expected.boxes)
    assert np.array_equal(sample[0].pred_instances.labels, expected.labels)
    assert sample[0].ori_shape == (192, 144)
    with pytest.raises(RuntimeError, match='cannot train'):
        model(packed['inputs'])

    cfg = load_config(config, [*options, 'classes=("a","b","c","d")'])
    with pytest.raises(UserError, match='predicts the classes disc'):
        apply_steps(cfg, exported_steps(path, summarise(cfg)))
    cfg = load_config(str(ROOT / 'configs' / 'deeplabv3_mbv2_sample.py'), options)
    with pytest.raises(UserError, match='gives boxes, but'):
        apply_steps(cfg, exported_steps(path, summarise(cfg)))


def test_the_stock_runner_evaluates_an_exported_file(quantised, small, tmp_path):
    out, _ = quantised
    cfg = load_config(small[0], small[2])
    path = str(out / 'ssdlite_mbv2_sample.xml')
    exported = apply_steps(cfg, exported_steps(path, summarise(cfg)))
    assert cfg.model.type != 'ExportedModel'
    exported.work_dir = str(tmp_path)
    exported.default_hooks.visualization.update(draw=True, test_out_dir='shown')
    metrics = Runner.from_cfg(exported).test()
    assert len(list(tmp_path.rglob('shown/*'))) == 8
    assert metrics['coco/bbox_mAP'] == evaluate_exported(cfg, summarise(cfg), path)['coco/bbox_mAP']


def test_onnx_in_8_bits_drops_relu6(small, tmp_path):
    import onnx

    config, checkpoint, options = small
    result = export(
        config, checkpoint, to='onnx', out=str(tmp_path), int8=True, num_images=2,
        num_calibration=8, cfg_options=options,
    )  # fmt: skip
    assert result.problems() == []
    graphs = [onnx.load(path).graph for path in (result.path, result.quantised.path)]
    clips = [sum(node.op_type == 'Clip' for node in graph.node) for graph in graphs]
    assert clips[0] > 50
    assert clips[1] <= 2  # the remaining ones follow the first convolution, and limit boxes
    per_channel = [
        tensor.dims[0]
        for tensor in graphs[1].initializer
        if tensor.name.endswith('_scale') and tensor.dims
    ]
    assert len(per_channel) > 50
    scores = Predictor(result.quantised.path, threads=1)(random_images(1, (128, 128))[0]).scores
    assert len(scores)


def test_a_model_without_detections_has_a_map_of_0(small, tmp_path):
    config, checkpoint, options = small
    result = export(
        config, checkpoint, to='onnx', out=str(tmp_path), int8=True, num_images=2,
        num_calibration=8, cfg_options=[*options, 'model.test_cfg.score_thr=0.999'],
    )  # fmt: skip
    assert result.problems() == []
    assert result.quantised.metrics == dict(bbox_mAP=(0, 0))


def test_an_export_that_differs_is_not_written(small, tmp_path, monkeypatch):
    config, checkpoint, options = small
    graph_of = export_module.ExportGraph

    def spoilt(*args):
        graph = graph_of(*args)
        graph.preprocess.shift += 0.01
        return graph

    monkeypatch.setattr(export_module, 'ExportGraph', spoilt)
    result = export(
        config, checkpoint, to='torch-export', out=str(tmp_path), num_images=2, cfg_options=options
    )
    assert any('scores differ by' in problem for problem in result.problems())
    assert list(tmp_path.iterdir()) == []


def test_an_untrained_checkpoint_is_refused(small, tmp_path):
    config, checkpoint, options = small
    arguments = dict(to='onnx', out=str(tmp_path), cfg_options=options)
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    path = tmp_path / 'bad.pth'

    torch.save({key: value for key, value in state.items() if 'reg_convs' not in key}, path)
    with pytest.raises(UserError, match='are missing'):
        export(config, str(path), **arguments)
    key = 'bbox_head.cls_convs.0.1.weight'
    torch.save(state | {key: state[key] * float('nan')}, path)
    with pytest.raises(UserError, match='NaN or infinite'):
        export(config, str(path), **arguments)
    fresh = MODELS.build(load_config(config, options).model)
    torch.save(fresh.state_dict(), path)
    with pytest.raises(UserError, match='not trained'):
        export(config, str(path), **arguments)


@pytest.mark.parametrize(
    ('base', 'options', 'message'),
    [
        ('ssdlite_mbv2_sample', ['model.backbone.widen_factor=0.35'], 'shape'),
        ('ssdlite_mbv2_sample', ['classes=("a","b","c")'], 'shape'),
        ('deeplabv3_mbv2_sample', [], 'missing'),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(small, tmp_path, base, options, message):
    config, checkpoint, data = small
    if base not in config:
        config = str(ROOT / 'configs' / f'{base}.py')
    with pytest.raises(UserError, match=message):
        export(config, checkpoint, to='onnx', out=str(tmp_path), cfg_options=[*data, *options])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('options', 'package'),
    [
        (dict(to='onnx'), 'onnxscript'),
        (dict(to='openvino'), 'openvino'),
        (dict(to='openvino', int8=True), 'onnxruntime'),
        (dict(to='executorch'), 'executorch'),
        (dict(to='ncnn'), 'pnnx'),
        (dict(to='coreml'), 'coremltools>=9'),
        (dict(to='litert', int8=True), 'ai_edge_quantizer'),
        (dict(to='web'), 'onnxscript'),
    ],
)
def test_a_missing_package_is_named_first(monkeypatch, options, package):
    monkeypatch.setitem(sys.modules, Requirement(package).name, None)
    with pytest.raises(UserError, match=rf'files need .*\b{package}\b.*: pip install'):
        export('nowhere.py', 'nowhere.pth', out='nowhere', **options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(to='torch-export', is_raw=False), 'Leave out --nms'),
        (dict(to='executorch', int8=True), '--int8 is available for onnx and openvino'),
        (dict(to='ncnn', dynamic_batch=True), 'one image at a time; leave out --dynamic-batch'),
        (dict(to='onnx', size=(0, 128)), 'height and width'),
        (dict(to='tflite'), 'the formats are'),
        (dict(to='onnx', num_images=0), '--images must be 1 or more'),
        (dict(to='onnx', num_calibration=0), '--calibration-images must be 1 or more'),
    ],
)
def test_options_that_do_not_fit_are_refused(small, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        export(*small[:2], out=str(tmp_path), **options)


def test_a_mistake_ends_with_a_message(small):
    result = export_tool(small[0], 'nowhere.pth', '--to', 'onnx', '--cfg-options', *small[2])
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith('error: no checkpoint at nowhere.pth')


def test_8_bits_that_cost_too_much_are_named():
    result = Quantised('x', dict(mIoU=(70.0, 68.9), mAP=(30.0, 29.0)), (4, 1), (2, 1))
    assert len(result.problems()) == 1
    assert 'mIoU fell from 70.0 to 68.9, by more than 1 points' in result.problems()[0]
    metrics = {'coco/bbox_mAP': 0.3, 'coco/bbox_mAP_50': 0.5, 'seg/mIoU': 70.0, 'aAcc': 90.0}
    assert headline_metrics(metrics) == dict(bbox_mAP=pytest.approx(30.0), mIoU=70.0)


def test_what_lies_between_the_first_convolution_and_the_last_is_quantised():
    #         image norm conv  relu conv  add     conv softmax conv
    inputs = [[], [0], [1], [2], [3], [4, 4], [5], [6], [1]]
    is_conv = [i in (2, 4, 6, 8) for i in range(9)]
    assert between_convolutions(inputs, is_conv) == [4, 5, 6]
    assert between_convolutions(inputs, is_conv, left_out=0) == [2, 3, 4, 5, 6, 8]
