"""What the tests of LiteRT files share."""

from functools import cache
from importlib.util import find_spec

from helpers.deploy import DETECTION, JOINT, PYRAMID, SEGMENTATION, TENSORFLOW, write_config
from helpers.machine import skip_without

from mbv2_backbone.workbench.export.export import export

MODELS = {
    'det': (DETECTION, 'ssdlite_mbv2_sample'),
    'pyramid': (PYRAMID, 'ssdlite_mbv2_sample'),
    'tensorflow': (TENSORFLOW, 'ssdlite_mbv2_sample'),
    'seg': (SEGMENTATION, 'deeplabv3_mbv2_sample'),
    'joint': (JOINT, 'ssdlite-deeplabv3_mbv2_sample'),
}


def exporter(folder, sample_dataset):
    """Return a function that exports one of `MODELS` once for each set of options."""
    if find_spec('litert_torch') is None:
        skip_without('converter to LiteRT (make litert)')

    @cache
    def model(name):
        (folder / name).mkdir()
        return write_config(folder / name, *MODELS[name], sample_dataset)

    @cache
    def result(name, **options):
        config, checkpoint, cfg_options = model(name)
        return export(
            config, checkpoint, to='litert', out=str(folder / f'{name}-{len(options)}'),
            num_images=3, num_calibration=8, cfg_options=cfg_options, **options,
        )  # fmt: skip

    return result
