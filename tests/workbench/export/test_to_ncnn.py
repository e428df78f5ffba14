"""ncnn files in 8 bits and beside others; an operation that ncnn lacks is named."""

import pytest
from helpers.deploy import exporter, random_images

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor

pytestmark = pytest.mark.runtime


@pytest.fixture
def exported(sample_dataset, tmp_path):
    return exporter(tmp_path, sample_dataset, 'ncnn')


def test_8_bits_stay_near_32(exported):
    result = exported('seg', int8=True, num_calibration=12)
    paths = result.path, result.quantised.path
    whole, small = (Predictor(path, threads=1) for path in paths)
    assert small.metadata.precision == 'int8'
    before, after = result.quantised.megabytes
    assert after < 0.4 * before
    for image in random_images(3, (145, 145)):
        assert (whole(image).mask == small(image).mask).mean() > 0.9


def test_an_operation_that_ncnn_lacks_is_named(exported, tmp_path, monkeypatch):
    import ncnn

    known = ncnn.layer_to_index
    lacking = dict(Interp=-1)
    monkeypatch.setattr(ncnn, 'layer_to_index', lambda kind: lacking.get(kind, known(kind)))
    with pytest.raises(UserError, match=r'no layers for these operations of the model: Interp'):
        exported('seg')
    assert list((tmp_path / 'seg').iterdir()) == []


def test_files_of_other_formats_beside_it_stay_whole(exported, tmp_path):
    image = random_images(1, (128, 128))[0]
    for to in ('openvino', 'ncnn'):
        assert exported('det', to=to, out=str(tmp_path / 'out')).problems() == []
    for name in ('ssdlite_mbv2_sample.xml', 'ssdlite_mbv2_sample.ncnn.param'):
        assert len(Predictor(tmp_path / 'out' / name, threads=1)(image).boxes) > 10
