"""Run cells in the kernel of a notebook, as Jupyter does."""

from contextlib import contextmanager

from helpers.resume import environment
from jupyter_client.manager import start_new_kernel


class Kernel:
    """A kernel; `run` keeps what the last cell showed.

    Attributes:
        text: What it printed.
        shown: The contents of its outputs by MIME type, each as it is at the end.
        error: The name, message and traceback of the exception that ended it.
    """

    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def run(self, code, *, interrupt_at=None):
        """Run a cell; interrupt it, as the button does, once it has printed a text."""
        self.text, self.shown, self.error = '', [], None
        self._places, self._until = {}, interrupt_at
        self.client.execute_interactive(code, output_hook=self._hear, timeout=600)
        return self

    def _hear(self, message):
        kind, content = message['msg_type'], message['content']
        if kind == 'stream':
            self.text += content['text']
            if self._until and self._until in self.text:
                self._until = None
                self.manager.interrupt_kernel()
        elif kind == 'error':
            self.error = content['ename'], content['evalue'], '\n'.join(content['traceback'])
        elif kind in ('display_data', 'update_display_data', 'execute_result'):
            name = content.get('transient', {}).get('display_id')
            place = self._places.setdefault(name, len(self.shown)) if name else len(self.shown)
            self.shown[place : place + 1] = [content['data']]

    def values(self, kind):
        """Return the outputs that have a MIME type."""
        return [data[kind] for data in self.shown if kind in data]


@contextmanager
def kernel_in(folder):
    """Start a kernel in a folder."""
    manager, client = start_new_kernel(kernel_name='python3', cwd=str(folder), env=environment())
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
