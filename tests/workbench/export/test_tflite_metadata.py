"""TensorFlow Lite's metadata and the files after a model; MediaPipe reads both."""

import io
import json
import zipfile
from importlib.util import find_spec

import flatbuffers
import numpy as np
import pytest
from helpers.deploy import exporter, random_images
from helpers.rules import RULES

from mbv2_backbone.deploy import Predictor
from mbv2_backbone.deploy.image import Placement
from mbv2_backbone.deploy.metadata import Metadata, Segmentation
from mbv2_backbone.workbench.export.tflite_metadata import describe_model, with_files

pytestmark = pytest.mark.runtime
METADATA = Metadata(
    input_size=(60, 100), fit='stretch', within=None, pad_value=(0, 0, 0), batch_size=1,
    is_raw=False, precision='float32', detection=RULES,
    segmentation=Segmentation(classes=('sky', 'road'), palette=None, align_corners=False),
)  # fmt: skip


def names_of_outputs(data):
    """Return the names in `subgraph_metadata[0].output_tensor_metadata`, by the schema's slots."""
    table = flatbuffers.table.Table(data, int.from_bytes(data[:4], 'little'))

    def children(table, slot):
        offset = table.Offset(4 + 2 * slot)
        start = table.Vector(offset)
        for i in range(table.VectorLen(offset)):
            yield flatbuffers.table.Table(table.Bytes, table.Indirect(start + 4 * i))

    (graph,) = children(table, 3)
    return [output.String(output.Offset(4) + output.Pos).decode() for output in children(graph, 3)]


def test_outputs_have_the_names_that_mediapipe_looks_for():
    outputs = ('boxes', 'labels', 'scores', 'count', 'logits', 'mask')
    data = describe_model(METADATA, outputs, 'model')
    assert data[4:8] == b'M001'
    roles = ['location', 'category', 'score', 'number of detections']
    assert names_of_outputs(data) == [*roles, 'logits', 'mask']


def test_the_files_follow_the_model_uncompressed():
    model = bytes(range(256)) * 10
    data = with_files(model, METADATA, {'other.bin': b'12'})
    assert data[: len(model)] == model
    assert data == with_files(model, METADATA, {'other.bin': b'12'})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read('metadata.json')) == METADATA.to_strings()
        assert archive.read('labels.txt') == b'a\nb\nc'
        assert archive.read('mask_labels.txt') == b'sky\nroad'
        assert archive.read('other.bin') == b'12'


@pytest.mark.slow
@pytest.mark.skipif(find_spec('mediapipe') is None, reason='there is no mediapipe')
def test_mediapipe_runs_our_files(sample_dataset, tmp_path):
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    exported = exporter(tmp_path, sample_dataset, 'litert')
    detector, segmentor = exported('det').path, exported('seg', size=(129, 137)).path
    # MediaPipe reads the memory of an array, whatever its strides are.
    image = np.ascontiguousarray(random_images(1, Predictor(detector).metadata.input_size)[0])
    options = vision.ObjectDetectorOptions(BaseOptions(model_asset_path=detector))
    with vision.ObjectDetector.create_from_options(options) as task:
        found = task.detect(mp.Image(mp.ImageFormat.SRGB, image)).detections
    expected = Predictor(detector)(image)
    assert len(found) == len(expected.scores) > 10
    for given, box, name in zip(found, expected.boxes, expected.names, strict=True):
        place = given.bounding_box
        assert given.categories[0].category_name == name
        assert np.abs([place.origin_x, place.origin_y] - box[:2]).max() <= 1

    image = np.ascontiguousarray(random_images(1, Predictor(segmentor).metadata.input_size)[0])
    options = vision.ImageSegmenterOptions(
        BaseOptions(model_asset_path=segmentor), output_category_mask=True
    )
    with vision.ImageSegmenter.create_from_options(options) as task:
        found = task.segment(mp.Image(mp.ImageFormat.SRGB, image))
        mask = found.category_mask.numpy_view().copy()  # a view of what `found` owns
        assert tuple(task.labels) == Predictor(segmentor).metadata.segmentation.classes
    assert (mask.squeeze() == Predictor(segmentor)(image).mask).mean() > 0.99

    classifier = exported('cls').path
    image = np.ascontiguousarray(random_images(1, Predictor(classifier).metadata.input_size)[0])
    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=classifier))
    with vision.ImageClassifier.create_from_options(options) as task:
        (head,) = task.classify(mp.Image(mp.ImageFormat.SRGB, image)).classifications
    # The image has the size of the input: MediaPipe's stretching changes nothing.
    size = Predictor(classifier).metadata.input_size
    expected = Predictor(classifier).predict_placed([(image, Placement(size, size))])[0]
    assert [category.category_name for category in head.categories[:5]] == [
        name for name, _ in expected.likeliest
    ]
    scores = [category.score for category in head.categories[:5]]
    np.testing.assert_allclose(scores, [p for _, p in expected.likeliest], atol=1e-4)
