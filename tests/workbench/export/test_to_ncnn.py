"""ncnn files of every kind of head and size, against PyTorch; 8 bits."""

import pytest
from helpers.deploy import DETECTION, SEGMENTATION, TENSORFLOW, random_images, write_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.export.export import export

pytestmark = pytest.mark.runtime
HEADS = {
    'aspp': SEGMENTATION.replace('channels=32)', 'channels=32, dilations=(3, 6, 9))'),
    'plus': SEGMENTATION.replace('0.25)', "0.25, out_indices=('layer2', 'layer7'))").replace(
        'in_channels=80, channels=32',
        "type='DeepLabV3PlusHead', in_index=1, in_channels=80, channels=32, fine_in_channels=8, "
        'dilations=(3, 6, 9)',
    ),
    'lraspp': SEGMENTATION.replace('0.25)', "0.25, out_indices=('layer3', 'layer7'))").replace(
        'in_channels=80, channels=32',
        "type='MobileLRASPPHead', _delete_=True, in_channels=(8, 80), channels=32, num_classes=5, "
        "norm_cfg=dict(type='BN')",
    ),
}


def exported(folder, text, base, dataset, **options):
    config, checkpoint, data = write_config(folder, text, base, dataset)
    return export(
        config, checkpoint, to='ncnn', out=str(folder / 'out'), num_images=3, cfg_options=data,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize('head', HEADS)
def test_each_head_gives_pytorchs_pixels(sample_dataset, tmp_path, head):
    text = HEADS[head]
    result = exported(tmp_path, text, 'deeplabv3_mbv2_sample', sample_dataset, size=(97, 145))
    # Random weights amplify rounding, under onnxruntime to 8e-5 already.
    assert result.comparison.raw['logits'] < 3e-4
    assert result.comparison.equal_pixels > 0.995


def test_tensorflows_detector_gives_pytorchs_boxes(sample_dataset, tmp_path):
    """Boxes are clipped after NMS, images are float32."""
    result = exported(tmp_path, TENSORFLOW, 'ssdlite_mbv2_sample', sample_dataset)
    assert result.problems() == []
    assert result.comparison.num_matched > 50


def test_8_bits_stay_near_32(sample_dataset, tmp_path):
    base = 'deeplabv3_mbv2_sample'
    result = exported(tmp_path, SEGMENTATION, base, sample_dataset, int8=True, num_calibration=12)
    paths = result.path, result.quantised.path
    whole, small = (Predictor(path, threads=1) for path in paths)
    assert small.metadata.precision == 'int8'
    before, after = result.quantised.megabytes
    assert after < 0.4 * before
    for image in random_images(3, (145, 145)):
        assert (whole(image).mask == small(image).mask).mean() > 0.9


def test_an_operation_that_ncnn_lacks_is_named(sample_dataset, tmp_path, monkeypatch):
    import ncnn

    known = ncnn.layer_to_index
    lacking = dict(Interp=-1)
    monkeypatch.setattr(ncnn, 'layer_to_index', lambda kind: lacking.get(kind, known(kind)))
    with pytest.raises(UserError, match=r'no layers for these operations of the model: Interp'):
        exported(tmp_path, SEGMENTATION, 'deeplabv3_mbv2_sample', sample_dataset)
    assert list((tmp_path / 'out').iterdir()) == []


def test_files_of_other_formats_beside_it_stay_whole(sample_dataset, tmp_path):
    config, checkpoint, options = write_config(
        tmp_path, DETECTION, 'ssdlite_mbv2_sample', sample_dataset
    )
    image = random_images(1, (128, 128))[0]
    for to in ('openvino', 'ncnn'):
        result = export(
            config, checkpoint, to=to, out=tmp_path / 'out', num_images=1, cfg_options=options
        )
        assert result.problems() == []
    for name in ('ssdlite_mbv2_sample.xml', 'ssdlite_mbv2_sample.ncnn.param'):
        assert len(Predictor(tmp_path / 'out' / name, threads=1)(image).boxes) > 10
