"""TensorFlow's files without TensorFlow: frozen graphs, checkpoints and SavedModels."""

import base64
import struct

import numpy as np
import pytest
import torch
from helpers.tensorflow import write_graph

from mbv2_backbone.weights.checkpoint_files import file_type, read_checkpoint

# What tf.compat.v1.train.Saver of TensorFlow 2.21 wrote for a float32 variable, its moving average,
# an int64 scalar, a float16 vector and a text.
INDEX = base64.b64decode(
    'AAAGCAEaAggBABgXTW9iaWxlbmV0VjIvQ29udi93ZWlnaHRzCAESDBICCAESAggCEgIIAygYNcDbPRcYGRkvRXhwb25l'
    'bnRpYWxNb3ZpbmdBdmVyYWdlCAESDBICCAESAggCEgIIAyAYKBg1G4AqngALDWdsb2JhbF9zdGVwCAkSACAwKAg1u9ef'
    'EQAEEWhhbGYIExIEEgIIAiA4KAQ1u/Hr2AAEEXRleHQIBxIEEgIIAiA8KAg1u6Yh3AAAAAABAAAAAPoy0sgAAAAAAQAA'
    'AADA8qGwAAEDdQDDAQAAAAABAAAAAF3cPnvIAQjVAQ8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFf7'
    'gIskdUfb'
)
DATA = base64.b64decode(
    'AAAAAAAAgD8AAABAAABAQAAAgEAAAKBAAAAAgAAAgL8AAADAAABAwAAAgMAAAKDABwAAAAAAAAAAPgBBAQF6G61sYWI='
)
SHARD = 'model.ckpt.data-00000-of-00001'


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / 'model.ckpt.index').write_bytes(INDEX)
    (tmp_path / SHARD).write_bytes(DATA)
    return tmp_path / 'model.ckpt'


def test_a_checkpoint_of_tensorflow_by_any_of_its_names(checkpoint):
    for name in ('model.ckpt', 'model.ckpt.index', SHARD):
        found = read_checkpoint(checkpoint.with_name(name))
        assert list(found) == ['MobilenetV2/Conv/weights', 'global_step', 'half']
        # The moving average in place of the variable, which counts up from 0.
        assert found['MobilenetV2/Conv/weights'].tolist() == [[[0, -1, -2], [-3, -4, -5]]]
        assert (found['global_step'].item(), found['global_step'].ndim) == (7, 0)
        assert found['half'].tolist() == [1.5, 2.5]
        assert found['half'].dtype == torch.float32


def test_the_variables_of_a_saved_model(tmp_path):
    folder = tmp_path / 'saved_model' / 'variables'
    folder.mkdir(parents=True)
    (folder / 'variables.index').write_bytes(INDEX)
    (folder / 'variables.data-00000-of-00001').write_bytes(DATA)
    assert file_type(folder.parent) == 'bundle'
    assert len(read_checkpoint(folder.parent)) == 3
    with pytest.raises(ValueError, match='is a folder'):
        read_checkpoint(folder)


def test_a_checkpoint_that_is_not_whole(checkpoint):
    shard = checkpoint.with_name(SHARD)
    shard.write_bytes(DATA[:40])
    with pytest.raises(ValueError, match=r'model\.ckpt\.index is truncated at'):
        read_checkpoint(checkpoint)
    shard.unlink()
    with pytest.raises(ValueError, match=f'needs {SHARD} next to it'):
        read_checkpoint(checkpoint)
    index = checkpoint.with_name('model.ckpt.index')
    for wrong in (INDEX[:-20], b'text', b'', INDEX[:60] + INDEX[-48:]):
        index.write_bytes(wrong)
        with pytest.raises(ValueError, match='not the index of a TensorFlow checkpoint'):
            read_checkpoint(checkpoint)


def varint(number):
    out = b''
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def block(entries):
    """A block of LevelDB's table with each key whole, uncompressed, and its checksum."""
    body = b''.join(
        b'\0' + varint(len(key)) + varint(len(value)) + key + value for key, value in entries
    )
    return body + struct.pack('<II', 0, 1) + b'\0' + b'crc!'


def test_a_table_of_many_blocks(tmp_path):
    rng = np.random.default_rng()
    values = rng.normal(size=(40, 3)).astype(np.float32)
    shape = b'\x12\x02\x08\x03'
    entries = [(b'', b'\x08\x01')] + [
        (
            f'layer_{i:02d}/weights'.encode(),
            b'\x08\x01\x12' + varint(len(shape)) + shape + b'\x20' + varint(12 * i) + b'\x28\x0c',
        )
        for i in range(40)
    ]
    table, handles = b'', []
    for start in range(0, len(entries), 7):
        part = entries[start : start + 7]
        handles.append((part[-1][0], varint(len(table)) + varint(len(block(part)) - 5)))
        table += block(part)
    empty, listed = block([]), block(handles)
    footer = varint(len(table)) + varint(len(empty) - 5)
    footer += varint(len(table) + len(empty)) + varint(len(listed) - 5)
    footer = footer.ljust(40, b'\0') + struct.pack('<Q', 0xDB4775248B80FB57)
    (tmp_path / 'x.index').write_bytes(table + empty + listed + footer)
    (tmp_path / 'x.data-00000-of-00001').write_bytes(values.tobytes())
    found = read_checkpoint(tmp_path / 'x')
    assert np.array_equal(np.stack([v.numpy() for v in found.values()]), values)


def test_a_frozen_graph(tmp_path):
    rng = np.random.default_rng()
    variables = {
        'a/weights': rng.normal(size=(2, 3)).astype(np.float32),
        'b/half': rng.normal(size=4).astype(np.float16),
        'c/double': rng.normal(size=(1, 1)),
    }
    found = read_checkpoint(write_graph(variables, tmp_path / 'graph.pb'))
    assert found.keys() == variables.keys()  # the constant that is not a variable is left out
    for name, values in variables.items():
        assert np.array_equal(found[name].numpy(), values.astype(np.float32))


def test_few_equal_values_are_stored_as_one_number(tmp_path):
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    path = write_graph({'a/gamma': np.ones(3, np.float32)}, tmp_path / 'graph.pb')
    graph = GraphDef.FromString(path.read_bytes())
    tensor = graph.node[0].attr['value'].tensor
    tensor.tensor_content = b''
    tensor.float_val.append(2.5)
    path.write_bytes(graph.SerializeToString())
    assert read_checkpoint(path)['a/gamma'].tolist() == [2.5, 2.5, 2.5]


def test_graphs_that_hold_no_weights(tmp_path):
    path = write_graph({'a/weights': np.ones((2, 50), np.float32)}, tmp_path / 'graph.pb')
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match='not a frozen graph of TensorFlow, or is truncated'):
        read_checkpoint(path)
    write_graph({'a/weights': np.ones(2, np.float32)}, path, kind='VariableV2')
    with pytest.raises(ValueError, match='it was not frozen'):
        read_checkpoint(path)
    path.write_bytes(b'\nsome text\nin lines\n')
    with pytest.raises(ValueError, match=r'not a frozen graph|begins with'):
        read_checkpoint(path)
