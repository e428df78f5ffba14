"""A `.pte` file under ExecuTorch's runtime; its metadata is in a `.json` file next to it."""

from __future__ import annotations

from .runtime_files import broken, import_runtime, read_sidecar
from .torch_runtime import TorchRuntime


def load(path: str, _threads: int | None) -> TorchRuntime:
    """Load a `.pte` file; the runtime chooses its own number of threads.

    Raises:
        UserError: If the runtime is not installed, or the file is broken or not one of ours.
    """
    module = import_runtime('executorch.runtime')
    metadata = read_sidecar(path)
    try:
        program = module.Runtime.get().load_program(path)
        method = program.load_method('forward')
    except Exception as error:
        raise broken(path, error) from error
    runtime = TorchRuntime(metadata, lambda images: [x.clone() for x in method.execute([images])])
    runtime.program = program  # the method uses it
    return runtime
