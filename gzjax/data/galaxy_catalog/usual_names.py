"""What columns of catalogues are usually called, the surest names first."""

from collections.abc import Iterable, Sequence
import re

IDS = (
  *("id_str", "iauname", "iau_name", "objid", "dr7objid", "dr8objid"),
  *("object_id", "galaxy_id", "gal_id", "source_id", "specobjid", "target_id"),
  *("asset_id", "image_id", "subject_id", "catalog_id", "id"),
)
# Of galaxies, or of anything else.
NAMES = ("name", "objname", "galaxy_name", "designation", "object", "galaxy")
FILES = (
  *("file_loc", "file", "filename", "file_path", "image", "image_file"),
  *("image_path", "image_name", "img", "img_path", "img_name", "path"),
  *("png_loc", "jpg_loc", "fits_loc", "png", "jpg", "jpeg", "fits"),
  *("cutout", "cutout_path", "local_path", "picture", "photo", "stamp"),
)
LABELS = (
  *("label", "labels", "class", "class_name", "classification", "given_label"),
  *("morphology", "morph", "morph_type", "morphological_type", "gz_class"),
  *("gz2class", "gz2_class", "galaxy_type", "galaxy_class", "type", "kind"),
  *("category", "target", "y", "summary"),
)
SPLITS = ("split", "subset", "set", "partition", "fold")
RA = ("ra", "ra_deg", "raj2000", "_raj2000", "alpha_j2000", "ra_icrs")
DEC = (
  *("dec", "dec_deg", "decl", "declination"),
  *("dej2000", "_dej2000", "decj2000", "delta_j2000", "de_icrs"),
)


def by_rank(
  columns: Iterable[str], usual: Sequence[str], *, only: bool = False
) -> list[str]:
  """The columns of usual names in the order of these, then the others.

  Cases, hyphens, underscores and blanks are the same. `only` those of usual
  names, if so.
  """
  rank = {_key(name): i for i, name in reversed(list(enumerate(usual)))}
  found = [name for name in columns if _key(name) in rank or not only]
  return sorted(found, key=lambda name: rank.get(_key(name), len(usual)))


def _key(name):
  return re.sub(r"[\W_]+", "", str(name).lower())
