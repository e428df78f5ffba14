"""Weights against the data_preprocessor: mismatches are reported."""

import warnings

import pytest
import torch
from helpers.networks import our_backbone
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, ImgDataPreprocessor

from mbv2_backbone.weights import contradiction, load_into
from mbv2_backbone.weights.preprocessing import IMAGENET, MINUS_ONE_TO_ONE


class Detector(BaseModel):
    def __init__(self, **data_preprocessor):
        super().__init__(ImgDataPreprocessor(**data_preprocessor))
        self.backbone = our_backbone()

    def forward(self, inputs):
        return self.backbone(inputs)


RIGHT = dict(mean=IMAGENET.mean, std=IMAGENET.std, bgr_to_rgb=True)


@pytest.mark.parametrize(
    'change',
    [{'mean': [0, 0, 0]}, {'std': [1, 1, 1]}, {'bgr_to_rgb': False}, {'mean': None, 'std': None}],
    ids=['mean', 'std', 'order', 'none'],
)
def test_a_contradicting_data_preprocessor_gets_the_right_lines(narrow_weights, change):
    lines = r'(?s)mean=\[123.675, 116.28, 103.53\],.std=\[58.395, 57.12, 57.375\],.bgr_to_rgb=True,'
    with pytest.warns(UserWarning, match=lines):
        load_into(Detector(**RIGHT | change), narrow_weights)


def test_an_agreeing_data_preprocessor_gets_no_warning(narrow_weights):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load_into(Detector(**RIGHT), narrow_weights)
        load_into(our_backbone(), narrow_weights)


def test_the_runs_config_is_checked_too(narrow_weights):
    hub = MessageHub.get_instance('test_the_runs_config_is_checked_too')
    wrong = "model = dict(data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5, 6]), type='X')"
    hub.update_info('cfg', wrong)
    with pytest.warns(UserWarning, match=r'BGR, mean \[1, 2, 3\]'):
        load_into(our_backbone(), narrow_weights)
    hub.update_info(
        'cfg',
        wrong.replace('[1, 2, 3]', str(list(IMAGENET.mean))).replace(
            'std=[4, 5, 6]', f'std={list(IMAGENET.std)}, bgr_to_rgb=True'
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load_into(our_backbone(), narrow_weights)


def test_a_contradicting_keras_range():
    keras_lines = dict(mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True)
    assert contradiction(MINUS_ONE_TO_ONE, keras_lines) is None
    assert 'mean=[127.5, 127.5, 127.5]' in contradiction(MINUS_ONE_TO_ONE, RIGHT)
    assert contradiction(MINUS_ONE_TO_ONE, None) is None


def test_mmengines_runner_warns_before_training(narrow_weights, tmp_path):
    from mmengine.config import Config
    from mmengine.runner import Runner

    torch.save(narrow_weights, tmp_path / 'tv.pth')

    class Trained(Detector):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return dict(loss=self.backbone(inputs)[0].mean())

    model = Trained()
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'tv.pth'))
    model.backbone = our_backbone(init_cfg=cfg)
    config = Config(dict(model=dict(type='Trained', data_preprocessor=dict(mean=[9, 9, 9]))))
    runner = Runner(
        model=model,
        work_dir=str(tmp_path / 'runs'),
        cfg=config,
        experiment_name='test_mmengines_runner_warns_before_training',
        default_hooks=dict(checkpoint=None, logger=None),
        train_dataloader=torch.utils.data.DataLoader([dict(inputs=torch.zeros(3, 32, 32))] * 2, 2),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        log_level='ERROR',
    )
    with pytest.warns(UserWarning, match=r'(?s)BGR, mean \[9, 9, 9\].*mean=\[123\.675'):
        runner.train()
    assert torch.equal(model.backbone.conv1.conv.weight, narrow_weights['features.0.0.weight'])
