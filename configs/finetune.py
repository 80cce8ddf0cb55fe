r"""A network that has seen galaxies before, for labels of your own.

    gzjax audit galaxies.csv --images=cutouts --workdir=runs/quick \
      --config=finetune
    gzjax audit galaxies.csv --images=cutouts --workdir=runs/fine \
      --config=finetune:layers

Zoobot's ConvNeXt-nano, trained on the answers of volunteers about millions of
galaxies (https://huggingface.co/mwalmsley, Apache-2.0; pip install
'gzjax[hub]', or --config.model.weights=zoobot:FILE). As it is, all galaxies go
through it once, and a linear head learns the labels, is audited in folds and
forgets in seconds. The variant `layers` trains all of it by Zoobot's published
recipe for finetuning: AdamW at 1e-4, each block at 0.75 of the rate of the next
one, weight decay 0.05, dropout 0.5.

Images have 224 pixels, as Zoobot's had; 64 (--config.data.size=64) are twelve
times as fast and worth a try. --config.model.weights= without a value takes
random weights, to see what the pretrained ones are worth.
"""

from gzjax.configs import catalog

_VARIANTS = ("", "layers")


def get_config(variant: str = ""):
  if variant not in _VARIANTS:
    raise ValueError(f"finetune.py has no variant {variant!r}; use layers")
  config = catalog.get_config()
  config.data.size = 224
  config.model.name = "convnext_nano"
  config.model.weights = "zoobot:convnext_nano"
  config.model.dropout = 0.5
  if variant == "layers":
    config.train.optimizer = "adamw"
    config.train.learning_rate = 1e-4
    config.train.layer_decay = 0.75
    config.train.weight_decay = 0.05
    config.train.select = "best"
    return config
  config.model.frozen = True
  config.train.epochs = 50
  config.train.learning_rate = 1e-3
  config.unlearn.least_learned = 0.0
  return config
