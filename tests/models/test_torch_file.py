"""The reader of .pth files: right on good ones, harmless on bad ones."""

import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from gzjax.errors import UserError
from gzjax.models import torch_file
from tests.models import pth

FLOATS = np.arange(24, dtype=np.float32)


@pytest.mark.parametrize(
  "dtype", ["f2", ml_dtypes.bfloat16, "f4", "f8", "i8"], ids=str
)
def test_reads_every_type(tmp_path, dtype):
  values = np.arange(6).reshape(2, 3).astype(dtype)
  scalar = np.array(5, dtype)
  path = pth.save(tmp_path / "w.pth", {"a.weight": values, "b": scalar})
  got = torch_file.read_tensors(path)
  assert list(got) == ["a.weight", "b"]
  for name, wanted in (("a.weight", values), ("b", scalar)):
    assert got[name].dtype == wanted.dtype
    np.testing.assert_array_equal(got[name], wanted)


def _views(path, **tensors):
  """Views of one storage of 24 floats."""
  content = {
    name: pth.tensor("0", "f4", 24, *view) for name, view in tensors.items()
  }
  return pth.archive(path, content, {"0": FLOATS.tobytes()})


def test_shared_storages_offsets_and_strides(tmp_path):
  path = _views(
    tmp_path / "w.pth",
    part=(4, (2, 3), (3, 1)),
    turned=(0, (4, 6), (1, 4)),
    every_other=(1, (5,), (2,)),
    empty=(24, (0, 3), (3, 1)),
  )
  got = torch_file.read_tensors(path)
  np.testing.assert_array_equal(got["part"], FLOATS[4:10].reshape(2, 3))
  np.testing.assert_array_equal(got["turned"], FLOATS.reshape(6, 4).T)
  np.testing.assert_array_equal(got["every_other"], [1, 3, 5, 7, 9])
  assert got["empty"].shape == (0, 3)
  assert np.shares_memory(got["part"], got["turned"])
  assert not got["part"].flags.writeable


@pytest.mark.parametrize("wrapper", torch_file._WRAPPERS)
@pytest.mark.fault("D")
def test_takes_a_wrapped_state_dict(tmp_path, wrapper):
  path = pth.save(
    tmp_path / "w.pth",
    {"a": FLOATS},
    lambda content: {"epoch": 3, wrapper: content},
  )
  np.testing.assert_array_equal(torch_file.read_tensors(path)["a"], FLOATS)


def test_what_else_a_checkpoint_holds_is_named(tmp_path):
  path = pth.save(
    tmp_path / "w.pth",
    {"a": FLOATS},
    lambda content: {"epoch": 3, "encoder": content},
  )
  _refused(path, r"no state dict, for it holds epoch, encoder \(2 that")


def test_checkpoints_of_trainings_are_read_and_nothing_in_them_is_run(tmp_path):
  """Settings and optimizers stand beside the weights, and are not made."""
  new = b"\x81"  # NEWOBJ
  settings = pth.opcodes(pth.Global("lightning.fabric", "AttributeDict"))
  settings += pth.opcodes(()) + new
  settings += b"(" + pth.opcodes("rate") + pth.opcodes(3) + b"u"
  target = tmp_path / "owned"
  runs = pth.Global("numpy.testing._private.utils", "runstring")
  path = pth.save(
    tmp_path / "w.ckpt",
    {"a": FLOATS},
    lambda content: {
      "state_dict": content,
      "hyper_parameters": pth.Opcodes(settings),
      "arguments": pth.Opcodes(
        pth.opcodes(pth.Global("argparse", "Namespace"))
        + pth.opcodes(()) + new + pth.opcodes({"seed": 3}) + b"b"
      ),
      "owned": pth.Call(runs, (f"open({str(target)!r}, 'w')", {})),
    },
  )  # fmt: skip
  assert torch_file.is_one(path)
  np.testing.assert_array_equal(torch_file.read_tensors(path)["a"], FLOATS)
  assert not target.exists()


def test_takes_parameters_and_metadata(tmp_path):
  """As torch pickles nn.Parameter and the attribute `_metadata`."""
  parameter = pth.Call(
    pth.Global("torch._utils", "_rebuild_parameter"),
    (pth.tensor("0", "f4", 24, 0, (24,), (1,)), True, pth.ordered_dict()),
  )
  state = pth.opcodes({"a": parameter}) + pth.opcodes({"_metadata": 1}) + b"b"
  path = pth.archive(
    tmp_path / "w.pth", pth.Opcodes(state), {"0": FLOATS.tobytes()}
  )
  np.testing.assert_array_equal(torch_file.read_tensors(path)["a"], FLOATS)


def _refused(path, match):
  with pytest.raises(UserError, match=match) as caught:
    torch_file.read_tensors(path)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "view",
  [
    (0, (25,), (1,)),
    (20, (5,), (1,)),
    (0, (4, 6), (7, 1)),
    (0, (2**62,), (1,)),
    (0, (2**70, 2**70), (0, 0)),
    (0, (10**6,), (0,)),
    (-1, (3,), (1,)),
    (0, (-3,), (1,)),
    (20, (3,), (-8,)),
    (0, (3, 2), (1,)),
    (0, (True,), (1,)),
    (0, ("a",), (1,)),
    ("a", (3,), (1,)),
    (0, 3, 1),
  ],
)
def test_a_view_that_leaves_its_storage_is_refused(tmp_path, view):
  _refused(_views(tmp_path / "w.pth", a=view), "damaged")


def test_a_storage_of_another_size_is_refused(tmp_path):
  content = {"a": pth.tensor("0", "f4", 24, 0, (4,), (1,))}
  for size in (92, 100, 4):
    path = pth.archive(tmp_path / "w.pth", content, {"0": bytes(size)})
    _refused(path, "declared size")
  _refused(pth.archive(tmp_path / "w.pth", content, {}), "data/0")


def test_truncated_files_are_refused(tmp_path):
  whole = pth.save(tmp_path / "w.pth", {"a": FLOATS}).read_bytes()
  for size in (0, 1, 20, len(whole) // 2, len(whole) - 1):
    path = tmp_path / "short.pth"
    path.write_bytes(whole[:size])
    _refused(path, "damaged")


def test_damaged_numbers_are_refused(tmp_path):
  path = pth.save(tmp_path / "w.pth", {"a": FLOATS})
  content = path.read_bytes()
  path.write_bytes(content.replace(FLOATS[5:7].tobytes(), bytes(8)))
  assert path.read_bytes() != content
  _refused(path, "CRC")


def test_compressed_entries_are_refused(tmp_path):
  """They could be a thousand times as large as the file."""
  path = pth.archive(
    tmp_path / "w.pth",
    {"a": pth.tensor("0", "f4", 10**6, 0, (10**6,), (1,))},
    {"0": bytes(4 * 10**6)},
    compression=zipfile.ZIP_DEFLATED,
  )
  assert path.stat().st_size < 10**5
  _refused(path, "compressed")


def test_the_old_format_is_named(tmp_path):
  path = tmp_path / "w.pth"
  path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"more")
  _refused(path, r"before 1\.6")


def test_another_byte_order_is_refused(tmp_path):
  path = pth.archive(tmp_path / "w.pth", {}, {}, byteorder="big")
  _refused(path, "byte order")


@pytest.mark.parametrize("content", [("a",), {"a": 3}, {"a": {"b": 3}}, 7])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
  _refused(pth.archive(tmp_path / "w.pth", content, {}), "state_dict")


@pytest.mark.parametrize(
  "module, name",
  [
    ("os", "system"),
    ("posix", "system"),
    ("subprocess", "check_output"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("__builtin__", "eval"),
    ("torch", "load"),
    ("torch", "FloatStorage.__init__"),
    ("collections", "OrderedDict.__init__"),
    ("builtins", "setattr"),
    ("functools", "reduce"),
    ("lightningrod", "strike"),
    ("gzjax.models.torch_file", "pickle"),
  ],
)
def test_every_other_global_is_refused(tmp_path, module, name):
  content = pth.Call(pth.Global(module, name), ("1",))
  _refused(
    pth.archive(tmp_path / "w.pth", content, {}), f"asks for {module}.{name}"
  )


class _Attack:
  def __init__(self, target):
    self.target = target

  def __reduce__(self):
    return open, (str(self.target), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_file_does_nothing(tmp_path, protocol):
  target = tmp_path / "owned"
  content = pickle.dumps({"a": _Attack(target)}, protocol)
  pickle.loads(content)["a"].close()
  assert target.exists(), "the attack works where nothing guards"
  target.unlink()
  path = tmp_path / "w.pth"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("archive/data.pkl", content)
  _refused(path, "asks for .*open")
  assert not target.exists()


@pytest.mark.parametrize(
  "victim",
  [
    pth.Global("collections", "OrderedDict"),
    pth.Global("torch", "FloatStorage"),
    pth.Global("torch._utils", "_rebuild_tensor_v2"),
    pth.Global("torch._utils", "_rebuild_parameter"),
    pth.Global("argparse", "Namespace"),
    pth.tensor("0", "f4", 24, 0, (24,), (1,)),
    pth.tensor("0", "f4", 24, 0, (24,), (1,)).args[0],
  ],
)
@pytest.mark.parametrize("slots", [False, True])
def test_a_pickle_cannot_change_what_it_gets_hold_of(tmp_path, victim, slots):
  """BUILD sets attributes; ours have none that could be set."""
  state = {"__call__": 1, "dtype": 2, "values": 3, "fromkeys": 4}
  built = (
    pth.opcodes(victim)
    + (b"N" + pth.opcodes(state) + b"\x86" if slots else pth.opcodes(state))
    + b"b"
  )
  path = pth.archive(
    tmp_path / "w.pth",
    {"a": pth.Opcodes(built)},
    {"0": FLOATS.tobytes()},
  )
  _refused(path, "damaged|no tensors")
  good = pth.save(tmp_path / "good.pth", {"a": FLOATS})
  np.testing.assert_array_equal(torch_file.read_tensors(good)["a"], FLOATS)


@pytest.mark.oracle
def test_the_test_writer_writes_what_torch_reads(tmp_path):
  torch = pytest.importorskip("torch")
  path = _views(
    tmp_path / "w.pth",
    part=(4, (2, 3), (3, 1)),
    turned=(0, (4, 6), (1, 4)),
  )
  wanted = torch.load(path, weights_only=True)
  got = torch_file.read_tensors(path)
  assert list(got) == list(wanted)
  for name, value in got.items():
    np.testing.assert_array_equal(value, wanted[name].numpy())


@pytest.mark.oracle
@pytest.mark.parametrize(
  "dtype",
  [
    *("float16", "bfloat16", "float32", "float64"),
    *("int64", "int32", "int16", "int8", "uint8", "bool"),
  ],
)
def test_reads_what_torch_saves(tmp_path, dtype):
  torch = pytest.importorskip("torch")
  whole = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
  tensors = {
    "whole": whole,
    "turned": whole.T,
    "part": whole[1:3, ::2],
    "scalar": torch.tensor(3).to(whole.dtype),
    "empty": whole[:0],
  }
  if dtype.startswith("float"):
    tensors["parameter"] = torch.nn.Parameter(whole[2])
  torch.save(tensors, tmp_path / "w.pth")
  got = torch_file.read_tensors(tmp_path / "w.pth")
  assert list(got) == list(tensors)
  for name, value in got.items():
    assert value.dtype == dtype
    np.testing.assert_array_equal(
      value.astype(np.float64), tensors[name].detach().double().numpy()
    )


@pytest.mark.oracle
def test_torchs_old_format_is_named(tmp_path):
  torch = pytest.importorskip("torch")
  path = tmp_path / "w.pth"
  torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
  _refused(path, r"before 1\.6")
