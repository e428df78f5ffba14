"""Pytest hooks that keep the runtimes to the tests marked for them."""

import sys

import pytest

RUNTIMES = ('onnxruntime', 'openvino', 'executorch', 'ncnn', 'ai_edge_litert')
seen_runtimes = []


def loaded_runtimes():
    return [name for name in RUNTIMES if sys.modules.get(name)]


def pytest_collection_modifyitems(items):
    """Run the tests that load runtimes last.

    Their threads do not survive the fork of a data loader; `make test` gives them processes of
    their own.
    """
    items.sort(key=lambda item: item.get_closest_marker('runtime') is not None)


def pytest_collection_finish():
    if loaded := loaded_runtimes():
        raise pytest.UsageError(
            f'a test file loads {", ".join(loaded)} when it is imported, and so in every process '
            'of the tests; let it import the runtime inside of the test or fixture'
        )


@pytest.fixture(autouse=True)
def runtimes_where_they_are_marked(request):
    yield
    new = [name for name in loaded_runtimes() if name not in seen_runtimes]
    seen_runtimes.extend(new)
    assert not new or request.node.get_closest_marker('runtime'), (
        f'this test loads {", ".join(new)}; give its file `pytestmark = pytest.mark.runtime`'
    )
