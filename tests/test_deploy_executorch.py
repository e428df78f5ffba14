"""An ExecuTorch file for XNNPACK, built and run by the released package."""

from pathlib import Path

import pytest
from deploy_util import DETECTION, pictures, write_config

from mbv2_backbone.deploy import Predictor
from mbv2_backbone.deploy.export import export
from mbv2_backbone.errors import UserError


def test_executorch_predicts_as_torch_does(sample_set, tmp_path):
    config, checkpoint, options = write_config(
        tmp_path, DETECTION, 'ssdlite_mbv2_sample', sample_set
    )
    result = export(
        config, checkpoint, to='executorch', out=str(tmp_path / 'out'), num_images=2,
        cfg_options=options,
    )  # fmt: skip
    assert result.problems() == []
    assert result.comparison.num_boxes > 40
    assert max(result.comparison.raw.values()) < 1e-4
    path = Path(result.path)
    assert len(Predictor(path)(pictures(1, (50, 70))[0]).boxes)
    path.with_suffix('.json').unlink()
    with pytest.raises(UserError, match=r'json beside it'):
        Predictor(path)
