"""Exports of classifiers: the files in each runtime, in 8 bits, in place of a checkpoint."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.deploy import (
    CLASSIFIER,
    DETECTION,
    IMAGE_CLASSES,
    SLIM,
    exporter,
    random_images,
    write_config,
)
from helpers.exported import RUNTIMES, Case
from helpers.serve import serving
from helpers.small import tool
from mmengine.registry import DATASETS

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.deploy.predictor import Prediction
from mbv2_backbone.workbench.configs.plan import apply_steps
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export.compare import Comparison, compare_predictions
from mbv2_backbone.workbench.export.export import export
from mbv2_backbone.workbench.export.formats import FORMATS
from mbv2_backbone.workbench.export.geometry import read_geometry
from mbv2_backbone.workbench.export.graph import heads_of
from mbv2_backbone.workbench.export.measure import Quantised, headline_metrics
from mbv2_backbone.workbench.export.sample_images import training_images
from mbv2_backbone.workbench.predict.exported_model import exported_steps
from mbv2_backbone.workbench.run import evaluate

pytestmark = pytest.mark.runtime


@pytest.fixture(scope='module', params=['bicubic', 'legacy'])
def case(sample_dataset, tmp_path_factory, request):
    text = CLASSIFIER if request.param == 'bicubic' else SLIM
    folder = tmp_path_factory.mktemp(request.param)
    return Case(folder, text, 'mobilenetv2_sample', sample_dataset, batch_size=None)


@pytest.fixture(scope='module')
def small(sample_dataset, tmp_path_factory):
    """A classifier that prefers one class, so that rounding changes no accuracy."""
    folder = tmp_path_factory.mktemp('small')
    config, path, options = write_config(folder, CLASSIFIER, 'mobilenetv2_sample', sample_dataset)
    checkpoint = torch.load(path)
    checkpoint['state_dict']['head.fc.bias'][1] += 6
    torch.save(checkpoint, path)
    return config, path, options


@pytest.fixture(scope='module')
def quantised(small, tmp_path_factory):
    config, checkpoint, options = small
    return export(
        config, checkpoint, to='onnx', out=tmp_path_factory.mktemp('onnx'), int8=True,
        num_images=2, num_calibration=12, cfg_options=options,
    )  # fmt: skip


@pytest.mark.parametrize('kind', ['raw', 'final'])
@pytest.mark.parametrize(('name', 'runtime'), RUNTIMES)
def test_probabilities_equal_the_models_for_every_runtime_and_batch(case, kind, name, runtime):
    predictor = Predictor(case.folder / kind / name, runtime=runtime, threads=1)
    images = [random_images(1, size, seed=5)[0] for size in ((150, 170), (64, 64), (40, 200))]
    found = predictor.predict(images)
    for given, sample in zip(found, case.predict(images), strict=True):
        np.testing.assert_allclose(given.probabilities, sample.pred_scores, atol=1e-4)
        assert given.likeliest[0][0] == IMAGE_CLASSES[int(sample.pred_label)]
        assert [p for _, p in given.likeliest] == sorted(given.probabilities.tolist())[:-6:-1]
        assert (len(given.boxes), given.mask) == (0, None)
    rule = case.geometry.rules
    assert (rule.fit, rule.resize, predictor.metadata.resize) == ('centre', 73, 73)
    assert predictor.metadata.task == 'cls'
    assert predictor.metadata.classification.classes == IMAGE_CLASSES


def test_a_prediction_can_be_written_as_json(case):
    found = Predictor(case.folder / 'final' / 'model.onnx')(random_images(1, (50, 60))[0])
    content = json.loads(json.dumps(found.json()))
    assert content['image'] == dict(width=60, height=50)
    rows = content['predictions']
    assert (content['top'], content['confidence']) == found.likeliest[0]
    assert [row['class'] for row in rows] == [IMAGE_CLASSES[row['class_id']] for row in rows]
    assert [(row['class'], row['confidence']) for row in rows] == list(found.likeliest)


def test_the_linear_layer_has_8_bits_and_no_steps_behind_it(quantised):
    import onnx

    assert quantised.problems() == []
    assert quantised.quantised.metrics.keys() == {'top1'}
    nodes = {node.output[0]: node for node in onnx.load(quantised.quantised.path).graph.node}
    linear = nodes['class_logits']
    assert linear.op_type == 'Gemm'
    assert all(nodes[name].op_type == 'DequantizeLinear' for name in linear.input[:2])
    exact, rough = Predictor(quantised.path), Predictor(quantised.quantised.path)
    for image in random_images(4, (64, 64)):
        assert np.abs(exact(image).probabilities - rough(image).probabilities).mean() < 0.1


@pytest.mark.parametrize('to', ['ncnn', pytest.param('litert', marks=pytest.mark.slow)])
def test_8_bits_stay_near_32_in_other_formats(small, tmp_path, to):
    config, checkpoint, options = small
    for kind in FORMATS[to].int8:
        result = export(
            config, checkpoint, to=to, out=tmp_path / kind, int8=kind, num_images=2,
            num_calibration=12, cfg_options=options,
        )  # fmt: skip
        assert result.problems() == []
        exact, rough = Predictor(result.path), Predictor(result.quantised.path)
        assert rough.metadata.is_raw == (kind == 'strict')
        for image in random_images(4, (64, 64)):
            assert np.abs(exact(image).probabilities - rough(image).probabilities).mean() < 0.1


def test_an_exported_file_takes_the_place_of_a_checkpoint(small, quantised, tmp_path):
    config, checkpoint, options = small
    figures, rows = [], []
    for i, weights in enumerate((checkpoint, quantised.path)):
        out = tmp_path / str(i)
        figures.append(evaluate(config, weights, work_dir=out, report=True, cfg_options=options))
        assert (out / 'report/report.html').is_file()
        images = summarise(load_config(config, options)).datasets['test'][0].config
        folder = Path(images['data_root'], images['data_prefix']['img_path'])
        done = tool(
            'predict', config, weights, folder, '--out', out / 'found', '--cfg-options', *options
        )
        assert done.returncode == 0, done.stderr[-2000:]
        rows.append(json.loads((out / 'found/predictions.json').read_text()))
    assert figures[0] == pytest.approx(figures[1])
    assert len(rows[0]) == len(rows[1]) > 20
    for expected, given in zip(*rows, strict=True):
        assert given.pop('score') == pytest.approx(expected.pop('score'), abs=2e-4)
        assert given == expected


def test_the_page_of_predict_shows_classes(small, quantised):
    config, _, options = small
    with serving(config, quantised.path, options) as page:
        image = random_images(1, (50, 60))[0]
        answer = page.ask(cv2.imencode('.png', image[..., ::-1])[1].tobytes())
    expected = Predictor(quantised.path)(image).likeliest
    assert [IMAGE_CLASSES[row['label']] for row in answer['likeliest']] == [n for n, _ in expected]
    assert len(expected) == 5
    assert (answer['boxes'], answer['mask']) == ([], None)


def test_calibration_takes_the_images_as_they_were_cut(small):
    config, _, options = small
    cfg = load_config(config, options)
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = [dataset.pipeline[0], dict(type='CentreView', size=64, resize=64),
                        dataset.pipeline[-1]]  # fmt: skip
    (image,) = training_images(cfg, summarise(cfg), 1, read_geometry(cfg))
    expected = DATASETS.build(dataset)[0]['inputs'].numpy()[::-1].transpose(1, 2, 0)
    assert np.array_equal(image, expected)


def test_what_cannot_be_exported_is_refused_by_name(small, tmp_path):
    config, checkpoint, options = small
    with pytest.raises(UserError, match=r'CentreView in the test pipeline .*leave out --size'):
        export(config, checkpoint, to='onnx', size=(32, 32), cfg_options=options)
    cfg = load_config(config, options)
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='RandomFlip'))
    with pytest.raises(UserError, match='RandomFlip'):
        read_geometry(cfg)
    cfg.test_dataloader.dataset.pipeline[1] = dict(type='Resize', scale=(64, 64))
    with pytest.raises(UserError, match=r'one Resize or one CentreView .*not both'):
        read_geometry(cfg)
    del cfg.test_dataloader.dataset.pipeline[2]
    assert read_geometry(cfg).rules.fit == 'stretch'
    model = torch.nn.Module()
    model.head = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match='only ClassifierHead is exported, got Linear'):
        heads_of(model)


def test_a_file_of_another_task_or_with_other_classes_is_refused(
    small, quantised, sample_dataset, tmp_path
):
    config, _, options = small
    detector, _, its_options = write_config(
        tmp_path, DETECTION, 'ssdlite_mbv2_sample', sample_dataset
    )
    cfg = load_config(detector, its_options)
    with pytest.raises(
        UserError, match='gives no boxes, but the model of the config predicts boxes'
    ):
        apply_steps(cfg, exported_steps(quantised.path, summarise(cfg)))
    cfg = load_config(config, [*options, 'classes=("disc","square","triangle","cross")'])
    with pytest.raises(
        UserError, match='predicts the classes disc, square, triangle, star, cross, ring, the da'
    ):
        apply_steps(cfg, exported_steps(quantised.path, summarise(cfg)))


def test_classes_that_differ_and_lost_points_are_problems():
    def prediction(*probabilities):
        return Prediction(
            np.zeros((0, 4)), np.zeros(0), np.zeros(0), (), None, (9, 9),
            np.array(probabilities, np.float32),
        )  # fmt: skip

    result = Comparison(num_images=2)
    compare_predictions(result, [prediction(0.6, 0.4)] * 2, [prediction(0.6, 0.4)] * 2)
    assert result.problems() == []
    assert 'the same likeliest class on 2 of 2 images' in str(result)
    for wrong in ((0.4, 0.6), (np.nan, 0.4), (0.6002, 0.3998)):
        result = Comparison(num_images=1)
        compare_predictions(result, [prediction(*wrong)], [prediction(0.6, 0.4)])
        assert 'probabilities differ' in result.problems()[0]
    assert headline_metrics({'accuracy/top1': 71.5, 'accuracy/top5': 90}) == {'top1': 71.5}
    lost = Quantised('x', {'top1': (71.5, 70.4)}, (1, 1), (1, 1))
    assert 'top1 fell from 71.5 to 70.4' in lost.problems()[0]


@pytest.mark.slow
def test_core_ml_names_the_classes(sample_dataset, tmp_path):
    import coremltools

    from mbv2_backbone.deploy.metadata import Classification
    from mbv2_backbone.workbench.export.to_coreml import class_labels

    result = exporter(tmp_path, sample_dataset, 'coreml')('cls')
    description = coremltools.utils.load_spec(result.path).description
    assert (description.predictedFeatureName, description.predictedProbabilitiesName) == (
        'classLabel', 'classLabel_probs',
    )  # fmt: skip
    from mbv2_backbone.workbench.predict.mil_interpreter import load

    (labels,) = (
        operation.inputs['classes'].val
        for operation in load(result.path)._main.operations
        if operation.op_type == 'classify'
    )
    assert tuple(getattr(label, 'val', label) for label in labels) == IMAGE_CLASSES
    assert class_labels(Classification(('a', 'b', 'a', 'a'), None)) == ['a', 'b', 'a 2', 'a 3']
