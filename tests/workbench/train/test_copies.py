"""Copies of batches to a GPU: without waiting, on a stream of their own."""

import pickle
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
import torch
from helpers.bench import SIZE, config
from measure.speed.models import build_random
from measure.speed.training import random_batch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import InstanceData, PixelData
from torch._subclasses.fake_tensor import FakeTensorMode

from mbv2_backbone.workbench.configs.machine import detect_machine
from mbv2_backbone.workbench.configs.read import task_of
from mbv2_backbone.workbench.train.copies import on_own_stream, overlap_copies, tensors_of

NAMES = ['ssdlite_mbv2_coco', 'deeplabv3_mbv2_sample', 'ssdlite-deeplabv3_mbv2_sample']


class Streams:
    """Writes down what is asked of torch.cuda and of its streams."""

    def __init__(self, events):
        self.events = events
        self.own, self.current = MagicMock(), MagicMock()
        self.Stream = lambda: self.own
        self.current.wait_stream = lambda other: events.append(('wait for', other is self.own))

    def current_stream(self):
        return self.current

    @contextmanager
    def stream(self, stream):
        assert stream is self.own
        self.events.append('enter')
        yield
        self.events.append('leave')


@pytest.mark.parametrize('device', ['cuda', 'cpu'])
@pytest.mark.parametrize('name', NAMES)
def test_only_for_a_gpu_no_copy_waits(name, device, monkeypatch):
    cfg, machine = config(name), replace(detect_machine(), device=device)
    model = build_random(cfg)
    with monkeypatch.context() as patch:
        patch.setattr(torch, 'cuda', Streams([]))
        overlap_copies(model, machine)
    batch = random_batch(cfg, task_of(cfg), 2, SIZE)
    copies, to = [], torch.Tensor.to

    def spy(tensor, *args, **kwargs):
        if any(isinstance(arg, torch.device) for arg in args):
            copies.append(kwargs.get('non_blocking', False))
        return to(tensor, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, 'to', spy)
        patch.setattr(torch.Tensor, 'record_stream', lambda tensor, stream: None)
        model.data_preprocessor(batch, True)
    assert len(copies) >= 4  # two images, and what two samples hold
    assert set(copies) == {device == 'cuda'}


@pytest.mark.parametrize('name', NAMES)
def test_the_step_waits_for_the_copy_which_waits_for_nothing(name, monkeypatch):
    cfg = config(name)
    preprocessor = build_random(cfg).data_preprocessor
    batch = random_batch(cfg, task_of(cfg), 2, SIZE)
    expected = preprocessor(batch, True)
    events, prepare = [], type(preprocessor).forward
    streams = Streams(events)

    def noted(*args, **kwargs):
        events.append('prepare')
        return prepare(*args, **kwargs)

    kept = []
    monkeypatch.setattr(
        torch.Tensor, 'record_stream', lambda x, s: (kept.append(x), events.append(s))
    )
    got = on_own_stream(noted, streams)(preprocessor, batch, True)
    assert events[:4] == ['enter', 'prepare', 'leave', ('wait for', True)]
    assert set(events[4:]) == {streams.current}
    assert torch.equal(got['inputs'], expected['inputs'])
    assert {id(x) for x in kept} == {id(x) for x in tensors_of(got)}
    assert len(kept) == len(events[4:]) >= 3  # the images, and what each sample holds


def test_all_that_is_copied_is_kept_until_the_step_has_used_it(monkeypatch):
    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=HorizontalBoxes(torch.ones(2, 4)), labels=torch.zeros(2, dtype=torch.long)
        ),
        gt_sem_seg=PixelData(sem_seg=torch.zeros(1, 4, 4)),
        metainfo=dict(img_id=1, scale=(1, 2)),
    )
    data = dict(inputs=[torch.ones(3)], data_samples=[sample, DetDataSample()], names=('a', None))
    copied, to = [], torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, 'to', lambda x, *args, **kw: (copied.append(x), to(x, *args))[1]
    )
    BaseDataPreprocessor().cast_data(data)
    assert len(copied) == 4
    assert {id(x) for x in copied} == {id(x) for x in tensors_of(data)}


def test_what_is_on_the_gpu_already_stays_on_its_stream():
    events = []
    call = on_own_stream(lambda _, data: data, Streams(events))
    with FakeTensorMode():
        data = dict(inputs=[torch.ones(3), torch.ones(3, device='cuda')])
        assert call(None, data) is data
    assert events == []


def test_a_copied_model_prepares_its_own_data(monkeypatch):
    model = build_random(config('ssdlite_mbv2_coco'))
    with monkeypatch.context() as patch:
        patch.setattr(torch, 'cuda', Streams([]))
        overlap_copies(model, replace(detect_machine(), device='cuda'))
    copied = deepcopy(model).data_preprocessor
    assert copied.forward.__self__ is copied is not model.data_preprocessor
    assert copied.forward.__func__ is model.data_preprocessor.forward.__func__
    unpickled = pickle.loads(pickle.dumps(model.data_preprocessor))
    assert unpickled.forward.__self__ is unpickled
