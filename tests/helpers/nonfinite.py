"""Faults in a training, and what each step changed."""

import torch
from helpers.resume import ToyModel
from mmengine.hooks import Hook
from mmengine.registry import MODELS

NAN, INF = float('nan'), float('inf')
# For a step that is skipped. On a GPU the averages count it until it is read, a step later.
STAYS = {'num_batches_tracked'} | ({'steps'} if torch.cuda.is_available() else set())
OPTIMIZERS = [
    dict(type=name, lr=0.01, fused=fused, **more)
    for name, more in (('SGD', dict(momentum=0.9)), ('AdamW', {}))
    for fused in (False, True)
]


@MODELS.register_module()
class Explodes(ToyModel):
    """A finite loss, with a non-finite gradient or an infinite constant in some steps.

    Attributes:
        step: Counted from 1.
    """

    def __init__(self, steps, how='gradient'):
        super().__init__()
        self.steps, self.how, self.step = steps, how, 0

    def forward(self, inputs, data_samples=None, mode='loss'):
        losses = super().forward(inputs, data_samples, mode)
        self.step += 1
        if self.step in self.steps and self.how == 'gradient':
            losses['loss_toy'].register_hook(lambda grad: grad * NAN)
        elif self.step in self.steps:
            losses['loss_more'] = [torch.tensor(INF)]
        return dict(losses, acc=torch.tensor(NAN))


class Recorder(Hook):
    """Record everything that a step may change, after each step."""

    priority = 'LOWEST'

    def __init__(self):
        self.states = []

    def after_train_iter(self, runner, **_):
        average = next(h.ema_model for h in runner.hooks if hasattr(h, 'ema_model'))
        optimizer = runner.optim_wrapper.optimizer.state_dict()['state']
        tensors = [*runner.model.state_dict().items(), *average.state_dict().items()]
        for i, state in optimizer.items():
            tensors += [(f'{i}.{name}', torch.as_tensor(value)) for name, value in state.items()]
        self.states.append({name: t.clone() for name, t in tensors})


def changed(recorder, step):
    """Return the names of what a step, counted from 1, changed."""
    before, after = recorder.states[step - 2], recorder.states[step - 1]
    assert all(t.isfinite().all() for t in after.values())
    return {
        name for name in after if name not in before or not torch.equal(before[name], after[name])
    }


def log_of(work_dir):
    return '\n'.join(path.read_text() for path in work_dir.glob('*/*.log'))
