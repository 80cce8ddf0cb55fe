"""Weights files in our networks, and the lines for those that do not fit."""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from gzjax import models
from gzjax.errors import UserError
from gzjax.models import hub, pretrained
from gzjax.models.convnext import CONVNEXTS
from tests.models import pth

CLASSES = 3


def _norm(name, channels):
  kinds = ("weight", "bias", "running_mean", "running_var")
  return {f"{name}.{kind}": (channels,) for kind in kinds}


# What torchvision would call a ResNet of two blocks of 4 and 8 channels.
NAMES = {
  "conv1.weight": (4, 3, 7, 7),
  **_norm("bn1", 4),
  "layer1.0.conv1.weight": (4, 4, 3, 3),
  **_norm("layer1.0.bn1", 4),
  "layer1.0.conv2.weight": (4, 4, 3, 3),
  **_norm("layer1.0.bn2", 4),
  "layer2.0.conv1.weight": (8, 4, 3, 3),
  **_norm("layer2.0.bn1", 8),
  "layer2.0.conv2.weight": (8, 8, 3, 3),
  **_norm("layer2.0.bn2", 8),
  "layer2.0.downsample.0.weight": (8, 4, 1, 1),
  **_norm("layer2.0.downsample.1", 8),
  "fc.weight": (CLASSES, 8),
  "fc.bias": (CLASSES,),
}


def _tensors(names=NAMES):
  rng = np.random.default_rng(0)
  tensors = {k: rng.normal(size=v).astype("f") for k, v in names.items()}
  counts = {k for k in names if k.endswith("running_mean")}
  return tensors | {
    k.replace("running_mean", "num_batches_tracked"): np.array(7)
    for k in counts
  }


@functools.cache
def _fresh():
  model = models.MODELS["resnet_tiny"](num_classes=CLASSES, width=4)
  return models.init_variables(model, jax.random.key(0), 32)


def _save(path, tensors):
  if path.suffix == ".safetensors":
    safetensors.numpy.save_file(tensors, path)
    return path
  return pth.save(path, tensors)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_every_tensor_gets_to_its_place(tmp_path, suffix):
  tensors = _tensors()
  path = _save(tmp_path / f"w{suffix}", tensors)
  params, stats = pretrained.load(path, *_fresh())
  layer = params["stage2_block1"]
  for got, name, axes in (
    (params["stem_conv"]["kernel"], "conv1.weight", (2, 3, 1, 0)),
    (layer["conv2"]["kernel"], "layer2.0.conv2.weight", (2, 3, 1, 0)),
    (layer["shortcut_conv"]["kernel"], "layer2.0.downsample.0.weight",
     (2, 3, 1, 0)),
    (layer["shortcut_norm"]["bias"], "layer2.0.downsample.1.bias", None),
    (stats["stem_norm"]["var"], "bn1.running_var", None),
    (stats["stage1_block1"]["norm2"]["mean"], "layer1.0.bn2.running_mean",
     None),
  ):  # fmt: skip
    wanted = tensors[name].transpose(axes) if axes else tensors[name]
    np.testing.assert_array_equal(got, wanted)
  # Random numbers: as many different ones out as in.
  loaded = np.concatenate([x.ravel() for x in jax.tree.leaves((params, stats))])
  backbone = [v.ravel() for k, v in tensors.items() if v.dtype == "f4"][:-2]
  assert np.isin(np.concatenate(backbone), loaded).all()


def test_head_is_fresh_unless_asked_for(tmp_path):
  tensors = _tensors()
  path = _save(tmp_path / "w.pth", tensors)
  fresh = _fresh()
  params, _ = pretrained.load(path, *fresh)
  assert params["head"] is fresh[0]["head"]
  params, _ = pretrained.load(path, *fresh, keep_head=True)
  np.testing.assert_array_equal(
    params["head"]["kernel"], tensors["fc.weight"].T
  )
  np.testing.assert_array_equal(params["head"]["bias"], tensors["fc.bias"])


def test_result_is_like_a_fresh_network(tmp_path):
  """Half precision and the prefix of DataParallel leave no trace."""
  tensors = {f"module.{k}": v.astype("f2") for k, v in _tensors().items()}
  fresh = _fresh()
  loaded = pretrained.load(_save(tmp_path / "w.pth", tensors), *fresh)
  assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(jnp.shape, fresh)
  assert {x.dtype for x in jax.tree.leaves(loaded)} == {jnp.dtype("f4")}


@pytest.mark.parametrize(
  "prefix", ["encoder.", "model.", "_orig_mod.", "module.backbone."]
)
def test_a_prefix_of_all_names_goes(tmp_path, prefix):
  """And a head beside the encoder, as in Zoobot's checkpoints."""
  plain = {k: v for k, v in _tensors().items() if not k.startswith("fc")}
  tensors = {f"{prefix}{k}": v for k, v in plain.items()}
  path = _save(tmp_path / "w.ckpt", tensors | {"head.1.bias": np.ones(4, "f")})
  wanted = pretrained.load(_save(tmp_path / "p.pth", plain), *_fresh())
  for got, one in zip(
    jax.tree.leaves(pretrained.load(path, *_fresh())),
    jax.tree.leaves(wanted),
    strict=True,
  ):
    np.testing.assert_array_equal(got, one)


def test_an_encoder_without_a_classifier_will_do(tmp_path):
  tensors = {k: v for k, v in _tensors().items() if not k.startswith("fc")}
  path = _save(tmp_path / "w.pth", tensors)
  pretrained.load(path, *_fresh())
  _refused(path, "lacks fc.bias", keep_head=True)


def test_bfloat16_of_both_formats(tmp_path):
  values = np.arange(6).reshape(2, 3).astype(jnp.bfloat16)
  for name in ("w.pth", "w.safetensors"):
    got = pretrained.read(_save(tmp_path / name, {"a": values})).tensors["a"]
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, values)


def _refused(path, match, **options):
  with pytest.raises(UserError, match=match) as caught:
    pretrained.load(path, *_fresh(), **options)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_missing_tensor_is_named(tmp_path):
  tensors = _tensors()
  del tensors["layer1.0.conv2.weight"]
  path = _save(tmp_path / "w.pth", tensors)
  _refused(path, r"lacks layer1\.0\.conv2\.weight \(1 such\)")


@pytest.mark.fault("D")
def test_names_of_another_kind_are_told(tmp_path):
  tensors = {
    f"trunk.{k}".replace("conv1.", "c1."): v for k, v in _tensors().items()
  }
  path = _save(tmp_path / "w.pth", tensors)
  _refused(path, r"It has trunk\.c1\.weight, trunk\.")


def test_a_tensor_without_a_place_is_named(tmp_path):
  tensors = _tensors() | {"layer1.1.conv1.weight": np.zeros((4, 4, 3, 3), "f")}
  _refused(_save(tmp_path / "w.pth", tensors), r"has layer1\.1\.conv1\.weight")


def test_a_wrong_shape_is_named(tmp_path):
  tensors = _tensors() | {"conv1.weight": np.zeros((4, 3, 3, 3), "f")}
  path = _save(tmp_path / "w.pth", tensors)
  _refused(path, r"conv1\.weight .*\(3, 3, 3, 4\), not \(7, 7, 3, 4\)")


def test_a_classifier_of_other_classes_is_refused_if_it_is_to_stay(tmp_path):
  names = NAMES | {"fc.weight": (1000, 8), "fc.bias": (1000,)}
  path = _save(tmp_path / "w.pth", _tensors(names))
  _refused(path, r"fc\.bias .*\(1000,\), not \(3,\)", keep_head=True)
  pretrained.load(path, *_fresh())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.fault("A7")
def test_a_number_that_is_not_finite_is_refused(tmp_path, suffix, bad):
  tensors = _tensors()
  tensors["bn1.weight"] = tensors["bn1.weight"].copy()
  tensors["bn1.weight"][1] = bad
  path = _save(tmp_path / f"w{suffix}", tensors)
  _refused(path, r"bn1\.weight has NaN or infinite numbers")


def _random(name, **options):
  """(params, batch_stats) of a network for ten classes."""
  model = models.MODELS[name](num_classes=10, **options)
  return jax.tree.map(
    lambda x: np.random.default_rng(0).normal(size=x.shape).astype("f"),
    jax.eval_shape(
      lambda key: models.init_variables(model, key, 32), jax.random.key(0)
    ),
  )


def _as_torch(params, stats):
  """The tensors of a file with these numbers."""
  variables = {"params": params, "batch_stats": stats}
  axes = {4: (3, 2, 0, 1), 2: (1, 0)}
  return {
    name: value.transpose(axes.get(value.ndim))
    for name, value in zip(
      jax.tree.leaves(pretrained.torch_names(variables)),
      jax.tree.leaves(variables),
      strict=True,
    )
  }


@pytest.mark.parametrize(
  ("name", "option"), [("resnet18", "small_stem"), ("convnext_pico", "grey")]
)
def test_the_setting_that_would_fit_is_told(tmp_path, name, option):
  tensors = _as_torch(*_random(name, **{option: True}))
  path = _save(tmp_path / "w.pth", tensors)
  _refused(path, rf"looks like {name} with model\.{option}=True: choose")


@pytest.mark.parametrize(
  "name", ["resnet18", "efficientnetv2_tiny", "convnext_pico"]
)
def test_another_architecture_is_recognised(tmp_path, name):
  params, stats = _random(name)
  path = _save(tmp_path / "w.pth", _as_torch(params, stats))
  _refused(path, f"looks like {name}: choose that model")
  loaded = pretrained.load(path, params, stats, keep_head=True)
  for got, wanted in zip(
    jax.tree.leaves(loaded), jax.tree.leaves((params, stats)), strict=True
  ):
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
  "name, content, match",
  [
    ("w.safetensors", b"", "no weights: neither safetensors"),
    ("w.bin", b"no weights at all", "no weights: neither safetensors"),
    ("w.npz", b"PK\3\4 and so on", "no weights that torch.save wrote"),
    ("w.pth", None, "no such file"),
  ],
)
def test_other_files_are_refused(tmp_path, name, content, match):
  path = tmp_path / name
  if content is not None:
    path.write_bytes(content)
  _refused(path, match)


def test_a_truncated_safetensors_file_is_refused(tmp_path):
  whole = _save(tmp_path / "w.safetensors", _tensors()).read_bytes()
  path = tmp_path / "short.safetensors"
  for size in (4, 100, len(whole) // 2, len(whole) - 1):
    path.write_bytes(whole[:size])
    _refused(path, "damaged")


def _hub(monkeypatch, download):
  module = types.ModuleType("huggingface_hub")
  module.hf_hub_download = download
  monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_hub_names_are_fetched(tmp_path, monkeypatch):
  path = _save(tmp_path / "w.safetensors", _tensors())
  asked = []

  def download(repo_id, filename):
    asked.append((repo_id, filename))
    return str(path)

  _hub(monkeypatch, download)
  pretrained.load("hub:timm/resnet34.a1_in1k", *_fresh())
  pretrained.load("hub:mwalmsley/zoo/models/best.pth", *_fresh())
  assert asked == [
    ("timm/resnet34.a1_in1k", "model.safetensors"),
    ("mwalmsley/zoo", "models/best.pth"),
  ]


def test_zoobots_names_are_of_the_hub_and_its_files_are_files(
  tmp_path, monkeypatch
):
  """Older repositories have no safetensors yet."""
  path = _save(tmp_path / "pytorch_model.bin", _tensors())
  asked = []

  def download(repo_id, filename):
    asked.append(filename)
    if filename == "model.safetensors":
      raise FileNotFoundError("no such entry")
    assert repo_id == "mwalmsley/zoobot-encoder-convnext_nano"
    return str(path)

  _hub(monkeypatch, download)
  for source in ("zoobot:convnext_nano", f"zoobot:{path}"):
    assert hub.local_file(source) == path
    assert hub.is_zoobots(source)
  assert asked == ["model.safetensors", "pytorch_model.bin"]
  assert hub.is_zoobots("hub:mwalmsley/zoobot-encoder-convnext_base")
  assert not hub.is_zoobots("hub:timm/convnext_nano.in12k")
  assert not hub.is_zoobots(path)


@pytest.mark.parametrize("name", ["hub:", "hub:timm", "hub:/a", "hub:a//b"])
def test_hub_names_have_an_owner_and_a_repository(name, monkeypatch):
  _hub(monkeypatch, None)
  _refused(name, "write hub:owner/repo")


@pytest.mark.parametrize("error", [OSError, FileNotFoundError, ValueError])
def test_without_a_network_the_hub_is_one_line(monkeypatch, error):
  def download(repo_id, filename):
    raise error("no route\nto the hub")

  _hub(monkeypatch, download)
  _refused("hub:timm/resnet34.a1_in1k", "no route to the hub")


def test_without_the_package_the_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  _refused("hub:timm/resnet34.a1_in1k", r"pip install 'gzjax\[hub\]'")


def test_names_are_checked_before_anything_is_fetched(tmp_path, monkeypatch):
  _hub(monkeypatch, None)
  for source in ("zoobot:convnext_nano", "zoobot:greyscale-convnext_pico"):
    assert hub.check(source) is None
    assert hub.encoder_of(source) in CONVNEXTS
  assert hub.encoder_of("zoobot:some/file.bin") == ""
  for source, match in (
    ("zoobot:convnext_foo", "no such encoder; choose one of zoobot:convnext_p"),
    ("hub:timm", "write hub:owner/repo"),
    (tmp_path, "is a folder: give the file of the weights in it.$"),
    (f"zoobot:{tmp_path}", "is a folder"),
    (f"zoobot:{tmp_path / 'no.bin'}", "no such file; mend the path"),
  ):
    with pytest.raises(UserError, match=match):
      hub.check(source)
  _save(tmp_path / "model.safetensors", _tensors())
  with pytest.raises(UserError, match=r"such as .*/model\.safetensors"):
    hub.check(tmp_path)
  with pytest.raises(UserError, match=r"is it .*/model\.safetensors\?"):
    hub.check(tmp_path / "model.safetensor")


def test_what_was_taken_off_is_known(tmp_path):
  path = tmp_path / "w.pth"
  wrapped = {f"encoder.{k}": v for k, v in _tensors().items()}
  head = {"head.1.weight": np.ones((3, 8), "f")}
  pth.save(path, {**wrapped, **head}, lambda x: {"state_dict": x, "epoch": 3})
  found = pretrained.read(path)
  assert (found.wrappers, found.prefix) == (("state_dict",), "encoder.")
  inner = {"encoder.fc.weight", "encoder.fc.bias"}
  assert {*found.head} == {"head.1.weight", *inner}
  plain = pretrained.read(_save(tmp_path / "w.safetensors", _tensors()))
  assert (plain.wrappers, plain.prefix) == ((), "")
  assert {*plain.head} == {"fc.weight", "fc.bias"}


def test_names_are_those_of_the_file(tmp_path):
  """A part of a name that only inner layers have is no prefix of all."""
  names = {"layer1.0.conv1.weight": (4, 4, 3, 3), "fc.weight": (CLASSES, 8)}
  path = _save(tmp_path / "w.pth", _tensors(names))
  _refused(
    path, r"It has layer1\.0\.conv1\.weight, and \d+ from conv1\.weight on"
  )
  tensors = {f"module.{k}": v for k, v in _tensors().items()}
  del tensors["module.layer2.0.conv2.weight"]
  path = _save(tmp_path / "w.safetensors", tensors)
  _refused(path, r"it lacks module\.layer2\.0\.conv2\.weight")


@pytest.mark.parametrize("name", ["w.bin", "w.safetensors"])
@pytest.mark.parametrize(
  ("content", "match"),
  [
    ("<!DOCTYPE html><html>404", "a web page"),
    ("\n<html>404", "a web page"),
    ("version https://git-lfs.github.com/spec/v1\noid 1", "git lfs pull"),
  ],
)
def test_what_a_download_left_in_its_place(tmp_path, name, content, match):
  (tmp_path / name).write_text(content)
  _refused(tmp_path / name, match)


@pytest.mark.oracle
@pytest.mark.parametrize(
  "name",
  ["resnet18", "resnet34", "resnet50", "efficientnetv2_s", "efficientnetv2_m"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_logits_of_a_saved_network_equal_pytorch(tmp_path, name, suffix):
  torch = pytest.importorskip("torch")
  from benchmarks import torch_efficientnet, torch_resnet

  peers = torch_efficientnet if "efficientnet" in name else torch_resnet
  peer = peers.random_network(name, CLASSES, seed=0).eval()
  path = tmp_path / f"w{suffix}"
  if suffix == ".pth":
    torch.save(peer.state_dict(), path)
  else:
    safetensors.numpy.save_file(
      {k: v.numpy() for k, v in peer.state_dict().items()}, path
    )
  model = models.MODELS[name](num_classes=CLASSES)
  shapes = jax.eval_shape(
    lambda key: models.init_variables(model, key, 32), jax.random.key(0)
  )
  params, stats = pretrained.load(path, *shapes, keep_head=True)
  image = np.random.default_rng(1).normal(size=(2, 65, 65, 3)).astype("f")
  with torch.no_grad():
    wanted = peer(torch.tensor(image).permute(0, 3, 1, 2)).numpy()
  got, _ = models.make_apply_fn(model)(params, stats, image, train=False)
  scale = np.abs(wanted).max()
  assert np.abs(wanted[0] - wanted[1]).max() > 0.01 * scale
  np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * scale)
