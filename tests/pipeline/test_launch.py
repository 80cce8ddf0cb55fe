"""The command line: a user's mistake is one line and exit code 2."""

import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import textwrap
import time

from absl import flags
import jax
import numpy as np
import pandas as pd
import pytest

from configs import demo
import gzjax
from gzjax.errors import UserError
from gzjax.pipeline import (
  checks,
  compiled,
  config_files,
  defaults,
  stages,
  usage,
)
from gzjax.pipeline import launch as launch_module
from gzjax.pipeline.remembered import Sources
from gzjax.pipeline.workdir import Workdir
from gzjax.unlearning import METHODS
from tests.command_line import (
  ROOT,
  command,
  environment,
  launch,
  one_error,
  run_here,
  tiny,
)
from tests.data.catalogs import CLASSES, write_catalog


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
  monkeypatch.chdir(ROOT)
  # The store of compiled programs is one for the whole process.
  monkeypatch.setattr(compiled, "use", lambda choice: None)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (["--config.train.epochz=3"], ["epochz"]),
    (["--config.train.epochs=3.5"], ["epochs"]),
    (["--config.train.epochs=0"], ["train.epochs is 0"]),
    (["--config.flips.fraction=0.5"], ["flips.fraction is 0.5"]),
    (["--config.flips.fraction=0.0"], ["flips.fraction is 0"]),
    (["--config.train.loss=mse"], ["train.loss is 'mse'", "focal"]),
    (["--config.unlearn.methods=('magic',)"], ["'magic'", "finetune"]),
    (["--config.model.name=resnet35"], ["'resnet35'", "resnet34"]),
    (["--stage=everything"], ["everything"]),
    (["--no_such_flag=1"], ["no_such_flag"]),
    (["extra"], ["extra"]),
    (["--stage=train"], ["needs stage prepare"]),
  ],
)
def test_mistakes_in_flags(refused, tmp_path, changes, words):
  line = refused(*tiny(tmp_path, *changes))
  for word in words:
    assert word in line


def test_missing_flags_and_files(refused, tmp_path):
  assert "--workdir is missing" in refused("--config=configs/demo.py")
  assert "--config is missing" in refused(f"--workdir={tmp_path}")
  line = refused("--config=configs/nowhere.py", f"--workdir={tmp_path}")
  assert "nowhere.py" in line
  line = refused("--config=configs/demo.py:huge", f"--workdir={tmp_path}")
  assert "huge" in line


def test_unwritable_workdir(refused, tmp_path):
  (tmp_path / "run").touch()
  assert "cannot write" in refused(*tiny(tmp_path))


def test_unwritable_data_dir(refused, tmp_path):
  (tmp_path / "tfds").touch()
  assert "choose another data_dir" in refused(*tiny(tmp_path))


def _catalog_flags(tmp_path, path):
  return [
    "--config=configs/catalog.py",
    f"--config.data.catalog={path}",
    f"--workdir={tmp_path / 'run'}",
    f"--data_dir={tmp_path / 'tfds'}",
  ]


def test_catalogue_without_a_file(refused, tmp_path):
  line = refused(*_catalog_flags(tmp_path, ""))
  assert "--config.data.catalog" in line


def test_mistakes_in_a_catalogue_lose_nothing(refused, tmp_path):
  path = write_catalog(tmp_path, 30)
  image = tmp_path / "images" / "7.png"
  whole = image.read_bytes()
  image.write_bytes(whole[:100])
  line = refused(*_catalog_flags(tmp_path, path))
  assert "row 8 (id 1007)" in line
  assert "7.png" in line
  # Mended, the same command goes on.
  image.write_bytes(whole)
  run_here(
    *_catalog_flags(tmp_path, path),
    "--stage=prepare",
    "--config.train.batch_size=8",
    "--config.unlearn.batch_size=8",
  )
  split = pd.read_parquet(tmp_path / "run" / "split.parquet")
  assert len(split) == 30
  # Another config is refused, and what is there stays.
  line = refused(
    *_catalog_flags(tmp_path, path),
    "--config.data.label_column=id_str",
    "--config.train.batch_size=8",
    "--config.unlearn.batch_size=8",
  )
  assert 'data.label_column was "label", is "id_str"' in line
  pd.testing.assert_frame_equal(
    split, pd.read_parquet(tmp_path / "run" / "split.parquet")
  )


def _without_label(table):
  return table.drop(columns="label")


def _empty(table):
  return table.iloc[:0]


def _twice(table):
  return pd.concat([table, table.iloc[[4]]])


def _starfish(table):
  return table.replace({"label": {"artifact": "starfish"}})


def _nameless(table):
  return table.assign(label="")


@pytest.mark.parametrize(
  ("mistake", "words"),
  [
    (_without_label, ["no column of labels", "as label_column"]),
    (_empty, ["has no rows"]),
    (_twice, ["row 31 (id 1004) repeats the id of row 5"]),
    (_starfish, ["row 3 (id 1002)", "'starfish'"]),
    (_nameless, ["'label' has 0 different values"]),
  ],
)
def test_mistakes_in_a_catalogue(refused, tmp_path, mistake, words):
  path = write_catalog(tmp_path, 30)
  mistake(pd.read_csv(path, dtype=str)).to_csv(path, index=False)
  classes = f"--config.data.classes={CLASSES}"
  line = refused(*_catalog_flags(tmp_path, path), classes)
  assert "catalog.csv" in line
  for word in words:
    assert word in line


BY_LABEL = ["--config.data.split_by=label"]


def test_a_class_that_is_too_small(refused, tmp_path):
  path = write_catalog(tmp_path, 20)
  table = pd.read_csv(path)
  table.loc[table["label"] == "artifact", "label"] = "smooth"
  table.loc[0, "label"] = "artifact"
  table.to_csv(path, index=False)
  flips = "--config.flips.kind=uniform"
  line = refused(*_catalog_flags(tmp_path, path), *BY_LABEL, flips)
  assert "'artifact' has 1 galaxies" in line


def test_a_catalogue_in_the_manual_folder(tmp_path):
  write_catalog(tmp_path / "downloads", 30)
  run_here(
    *_catalog_flags(tmp_path, "catalog.csv"),
    f"--manual_dir={tmp_path / 'downloads'}",
    "--stage=prepare",
    "--config.train.batch_size=8",
    "--config.unlearn.batch_size=8",
  )


def _small(tmp_path):
  """Flags of a run that needs no sky to be drawn."""
  return [
    *_catalog_flags(tmp_path, write_catalog(tmp_path, 30)),
    "--config.train.batch_size=8",
    "--config.unlearn.batch_size=8",
    "--config.model.name=resnet_tiny",
    "--config.model.width=8",
    "--config.data.size=16",
  ]


@pytest.mark.parametrize(
  ("size", "words"),
  [(12, ["batch_size=12", "8 devices"]), (200, ["batch_size=200"])],
)
def test_batches_that_do_not_fit(refused, tmp_path, size, words):
  line = refused(*_small(tmp_path), f"--config.train.batch_size={size}")
  for word in words:
    assert word in line


def test_a_mistake_in_a_process_of_its_own(tmp_path):
  done = launch(*_small(tmp_path), "--jax_num_cpu_devices=3")
  assert done.returncode == 2, done.stderr
  line = one_error(done.stderr)
  assert "batch_size=8" in line
  assert "3 devices" in line


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--config=nope"], ["no config 'nope'", "catalog, decals,", "demo"]),
    (["--config=dmeo"], ["no config 'dmeo'", "did you mean demo?"]),
    (["--epochs=3"], ["--epochs", "--config.train.epochs?"]),
    (["--train.epochs=3"], ["--config.train.epochs?"]),
    (["--wrokdir=3"], ["did you mean --workdir?"]),
    (["trian"], ["'trian'", "did you mean train?"]),
    (["train", "--stage=audit"], ["two stages, train and --stage=audit"]),
    (["train", "audit"], ["two stages, train and audit"]),
    (["--config="], ["--config has no value"]),
    (["--config=nowhere.json"], ["no file nowhere.json"]),
  ],
)
@pytest.mark.fault("D")
def test_hints(refused, tmp_path, arguments, words):
  line = refused(*tiny(tmp_path, *arguments))
  for word in words:
    assert word in line


MISTAKES = {
  "syntax": ("def get_config():\n  return (\n", "line 2: SyntaxError"),
  "name": ("import os\n\nundefined\n", "line 3: NameError"),
  "deep": (
    "def deeper():\n  return {}['a']\n\ndef get_config():\n  deeper()\n",
    "line 2: KeyError: 'a'",
  ),
  "attribute": (
    "from gzjax.pipeline import defaults\ndef get_config():\n"
    "  config = defaults.get_config()\n  config.train.epochs = 'x'\n",
    "line 4: TypeError",
  ),
  "nothing": ("x = 1\n", "has no function get_config()"),
  "none": ("def get_config():\n  pass\n", "returns NoneType"),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.fault("B")
def test_a_mistake_in_a_config_file_has_a_line(refused, tmp_path, name):
  text, words = MISTAKES[name]
  path = tmp_path / "mine.py"
  path.write_text(text)
  line = refused(f"--config={path}", f"--workdir={tmp_path / 'run'}")
  assert str(path) in line
  assert words in line


def test_configs_are_found_from_any_folder(tmp_path, monkeypatch, no_run):
  monkeypatch.chdir(tmp_path)
  for name in ("demo:tiny", "configs/demo.py:tiny"):
    run_here(f"--config={name}", "--workdir=run")
  Path("demo.py").write_text(
    "from gzjax.pipeline import defaults\n\n\ndef get_config():\n"
    "  config = defaults.get_config()\n  config.seed = 7\n  return config\n"
  )
  run_here("--config=demo.py", "--workdir=run")
  run_here("--config=decals:cpu", "--workdir=run")
  (bare, _), (path, _), (own, sources), (decals, _) = no_run
  assert bare[0].data.galaxies == path[0].data.galaxies == 200
  assert own[0].seed == 7
  assert sources["config_file"] == str(tmp_path / "demo.py")
  assert "dirichlet" in decals[0].systems


def test_a_stage_by_its_place(tmp_path, no_run):
  run_here("train", *tiny(tmp_path))
  run_here(*tiny(tmp_path, "--stage=train"))
  run_here(*tiny(tmp_path), "train", "--config.train.epochs", "9")
  assert [args[2] for args, _ in no_run] == ["train"] * 3
  assert no_run[-1][0][0].train.epochs == 9


@pytest.mark.fault("F")
def test_help_fits_a_screen_and_lists_the_stages():
  # In a process that has none of what is slow to import.
  code = """
    import sys
    from gzjax.pipeline import launch
    sys.argv = ["gzjax", "train", "--help"]
    launch.main()
    assert not {"jax", "absl", "numpy", "pandas"} & set(sys.modules)
  """
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(code)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  lines = done.stdout.splitlines()
  assert 24 <= len(lines) <= 40
  assert max(map(len, lines)) <= 80
  for name in ("all", *stages.STAGES):
    assert any(line.startswith(f"  {name} ") for line in lines), name
  for flag in ("--workdir", "--overwrite", "--data_dir", "--manual_dir"):
    assert flag in done.stdout
  assert set(usage.STAGES) == {"all", *stages.STAGES}


def test_version():
  assert usage.answer(["--version"]) == f"gzjax {gzjax.__version__}"


def test_a_run_ends_by_what_it_compiled(tmp_path, capsys, monkeypatch):
  def compile_one(*_, **__):
    jax.jit(lambda x: x + 1).lower(np.float32(0)).compile()

  for run, said in (
    (compile_one, r"compiled 1 program in \d+\.\d s( \(.*\))?\n"),
    (lambda *_, **__: None, ""),
  ):
    monkeypatch.setattr(stages, "run", run)
    run_here(*tiny(tmp_path))
    assert re.fullmatch(said, capsys.readouterr().err)


def test_print_config_can_be_pasted(tmp_path, capsys, no_run):
  run_here("--config=demo:tiny", "--print_config", "--config.seed=5")
  text = capsys.readouterr().out
  assert not no_run
  assert "--config.seed=5  # default 0" in text
  assert '--config.data.split="(0.7, 0.15, 0.15)"  # shares of train' in text
  keys = re.findall(r"^(--config\.[\w.]+)=", text, re.MULTILINE)
  assert len(keys) == len(set(keys)) > 150
  assert text.index("# data\n") < text.index("# train\n")


def _record(folder):
  return json.loads((folder / "config.json").read_text())


def test_a_killed_run_goes_on_by_its_workdir_alone(tmp_path):
  run = tmp_path / "run"
  more = ("--config.train.epochs=3", "--stage=prepare")
  process = subprocess.Popen(
    command(*_small(tmp_path), *more),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  while process.poll() is None and not (run / "config.json").exists():
    time.sleep(0.01)
  process.send_signal(signal.SIGTERM)
  said = process.communicate()[1]
  assert process.returncode == 143, said
  assert said.splitlines()[-1] == "stopped; the same command goes on"
  record = _record(run)
  assert record["config"]["train"]["epochs"] == 3
  assert record["dataset_fingerprint"] is None
  run_here("prepare", f"--workdir={run}")
  assert (tmp_path / "tfds").is_dir()  # that is remembered, too
  assert len(pd.read_parquet(run / "split.parquet")) == 30
  after = _record(run)
  assert after["dataset_fingerprint"]
  assert record["config"]["data"]["id_column"] == "auto"
  assert after["config"].pop("data")["id_column"] == "id_str"
  record["config"].pop("data")
  assert after["config"] == record["config"]


def _sources(named):
  return Sources(*(named[name] for name in Sources._fields))


def test_a_run_remembers_its_config(refused, tmp_path, no_run):
  given = [
    *tiny(tmp_path, "--config.train.layer_rates=(('stem', 0.5),)"),
    "--config.data.class_fractions=(0.3, 0.3, 0.4)",
  ]
  run_here(*given)
  (config, workdir, _), sources = no_run.pop()
  stages.remember(config, Workdir(workdir), "all", _sources(sources))
  flag = f"--workdir={workdir}"
  run_here(flag)
  (again, _, stage), sources = no_run.pop()
  assert stage == "all"
  assert again.to_dict() == config.to_dict()  # tuples are tuples again
  assert sources["config_file"] == "demo:tiny"
  assert sources["data_dir"] == str(tmp_path / "tfds")
  run_here("audit", flag, "--config.train.epochs=9")
  (changed, _, stage), _ = no_run.pop()
  assert (stage, changed.train.epochs) == ("audit", 9)
  assert "epochz" in refused(flag, "--config.train.epochz=9")
  run = gzjax.load(workdir)
  assert run.config.to_dict() == config.to_dict()
  with pytest.raises(UserError, match=r"no scoreboard\.csv yet"):
    _ = run.scoreboard


def test_a_comparison_shares_its_sections_again(tmp_path, no_run):
  run_here("--config=decals:tiny", f"--workdir={tmp_path}")
  (config, workdir, _), sources = no_run.pop()
  for config_file in ("decals:tiny", None):  # its file may be gone
    found = _sources({**sources, "config_file": config_file})
    stages.remember(config, Workdir(workdir), "all", found)
    run_here(f"--workdir={tmp_path}", "--config.data.galaxies=700")
    (again, *_), _ = no_run.pop()
    assert again.systems.multilabel.data.galaxies == 700
    changed = again.to_dict()
    changed["data"]["galaxies"] = 600
    for system in changed["systems"].values():
      system["data"]["galaxies"] = 600
    assert changed == config.to_dict()


METHOD = """
from gzjax.pipeline import defaults
from gzjax.unlearning import METHODS, register

register("mine", METHODS["finetune"])


def get_config():
  config = defaults.get_config()
  config.unlearn.methods = ("retrain", "mine")
  return config
"""


def test_methods_of_the_run_are_registered_again(tmp_path, no_run, capsys):
  path = tmp_path / "mine.py"
  path.write_text(METHOD)
  run_here(f"--config={path}", f"--workdir={tmp_path}")
  (config, workdir, _), sources = no_run.pop()
  stages.remember(config, Workdir(workdir), "all", _sources(sources))
  METHODS._rows.pop("mine")
  config_files._import.cache_clear()  # as in another process
  for _ in range(2):
    gzjax.load(workdir)
    assert "mine" in METHODS
  METHODS._rows.pop("mine")
  # Without its file the values are still there.
  path.unlink()
  capsys.readouterr()
  found = gzjax.load(workdir).config
  assert "mine.py" in capsys.readouterr().err
  assert found.unlearn.to_dict() == config.unlearn.to_dict()


def test_a_sweep_changes_its_own_section_only(tmp_path):
  config = demo.get_config("tiny")
  place, sources = Workdir(tmp_path), Sources(None, None, None)
  stages.remember(config, place, "all", sources)
  config.train.epochs = 99
  config.discovery.shares = (0.5,)
  config.predict.shown = 3
  stages.remember(config, place, "predict", sources)
  assert _record(tmp_path)["config"]["predict"]["shown"] == 8
  stages.remember(config, place, "discovery", sources)
  found = _record(tmp_path)["config"]
  assert found["discovery"]["shares"] == [0.5]
  assert found["train"]["epochs"] == 5


def test_the_least_used_programs_go_first(tmp_path):
  for age, name in enumerate(("new", "middle", "old")):
    (tmp_path / name).write_bytes(bytes(100))
    os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
  compiled.prune(tmp_path, 250)
  assert {x.name for x in tmp_path.iterdir()} == {"new", "middle"}


@pytest.fixture
def jax_is_told():
  """A function that tells JAX where its cache is; put back at the end."""
  names = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
  )
  before = {name: getattr(jax.config, name) for name in names}
  yield lambda folder: jax.config.update(names[0], folder)
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.mark.parametrize(
  ("choice", "told", "where"),
  [
    (None, None, "caches/gzjax/compiled/"),
    ("given", None, "given/"),
    ("given", "told", "given/"),
    ("off", None, None),
    (None, "told", "told"),
    ("off", "told", None),
  ],
)
def test_where_compiled_programs_are_kept(
  tmp_path, monkeypatch, jax_is_told, choice, told, where
):
  monkeypatch.undo()  # of `in_the_checkout`
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
  monkeypatch.chdir(tmp_path)
  jax_is_told(told)
  compiled.use(choice)
  found = jax.config.jax_compilation_cache_dir
  assert found is None if where is None else where in found


def test_programs_are_kept_without_a_warning(tmp_path):
  code = f"""
    from gzjax.pipeline import compiled
    import jax
    compiled.use({str(tmp_path)!r})
    jax.jit(lambda x: x + 1)(1)
  """
  variables = environment()
  variables.pop("JAX_COMPILATION_CACHE_DIR", None)
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
    cwd=ROOT,
    env=variables,
    capture_output=True,
    text=True,
    check=True,
  )
  assert not done.stderr
  assert any(x.is_file() for x in tmp_path.rglob("jit*"))


@pytest.mark.parametrize("section", checks.RECIPES)
def test_recipes_take_keys_of_train_by_flags(section):
  def read(key):
    words = ("--config=demo:tiny", "--workdir=w", f"--config.{section}.{key}")
    return launch_module.read(["gzjax", *words], flags.FlagValues())

  recipe = checks.get(read("epochs=7").config, section)
  assert recipe.to_dict()["epochs"] == 7
  with pytest.raises(SystemExit):
    read("epoch=7")


def test_words_with_commas_are_a_tuple(no_run):
  """As everybody writes them first."""
  run_here(
    *("--config=demo:tiny", "--workdir=run"),
    "--config.unlearn.methods=finetune,neggrad_plus",
    "--config.data.fits_extensions=Z,R,4",
    "--config.labels.classes=round smooth, spiral",
    "--config.discovery.methods=('retrain',)",
    "--config.discovery.shares=0.5,1",
    "--config.model.weights=a,b.bin",
  )
  ((config, *_), _) = no_run.pop()
  assert config.unlearn.methods == ("finetune", "neggrad_plus")
  assert config.data.fits_extensions == ("Z", "R", "4")
  assert config.labels.classes == ("round smooth", "spiral")
  assert config.discovery.methods == ("retrain",)
  assert config.discovery.shares == (0.5, 1)
  assert config.model.weights == "a,b.bin"


def test_extensions_may_be_numbers():
  config = defaults.get_config()
  config.data.fits_extensions = (4, "R", 1)
  checks.check_config(config)
  config.data.fits_extensions = (True,)
  with pytest.raises(UserError, match="give names or numbers, such as"):
    checks.check_config(config)
