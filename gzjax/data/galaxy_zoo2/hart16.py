"""The Galaxy Zoo 2 images of Zenodo with the votes of Hart et al. (2016)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gzjax.data.downloads import archives, records, tables
from gzjax.data.galaxy_builder import Galaxies
from gzjax.errors import UserError
from gzjax.morphology.campaigns import GZ2

ZENODO = "zenodo.org/records/3565489"
S3 = "gz2hart.s3.amazonaws.com"
# As several public repositories have them.
MD5: Mapping[str, str] = {
  "images_gz2.zip": "bc647032d31e50c798770cf4430525c7",
  "gz2_filename_mapping.csv": "7e28465e6dfbf96c0d828c595a5bbd80",
}


def read_release(
  folder: Path,
  files: archives.Files,
  *,
  samples: Sequence[str],
  md5: Mapping[str, str],
) -> Galaxies:
  """Reads and checks the files, and joins them by the SDSS identifier.

  The folder has them as they were downloaded. Of the samples original, extra
  and stripe82 some are taken; `md5` has the checksums of files to verify.

  Returns:
    `id_str` (DR7 object id), `counts` f32[37], `debiased` f32[37] (NaN where
    there is none), `ra` and `dec` (float64 degrees).

  Raises:
    UserError: naming the file or the row and the mend.
  """
  path = archives.find([folder], ("gz2_hart16.csv.gz", "gz2_hart16.csv"), S3)
  mapping = archives.find([folder], ("gz2_filename_mapping.csv",), ZENODO)
  zipped = archives.find(
    [folder], ("images_gz2.zip", "images_gz2", "images"), ZENODO
  )
  for file in (mapping, zipped):
    archives.verify(file, "md5", md5)
  votes = records.read_votes(
    files, path, ["dr7objid", "sample"], GZ2.stems, "_count"
  )
  ids, sample = votes.pop("dr7objid"), votes.pop("sample")
  tables.check_ids(str(path), ids)
  if unknown := set(samples) - set(sample):
    raise UserError(
      f"{path} has no sample {sorted(unknown)[0]!r}: choose from "
      f"{', '.join(sorted(set(sample)))}."
    )
  assets = _assets(mapping, ids, files)
  images = files.open_images([zipped])
  wanted = np.isin(sample, list(samples))
  missing = np.ones(len(ids), bool)
  missing[wanted] = ~images.has_most(assets[wanted], ids[wanted], str(path))
  return records.galaxies(
    images,
    assets,
    {"id_str": ids, **votes},
    {
      "repeated id": tables.repeated(ids),
      "another sample": ~wanted,
      "no image": missing,
    },
  )


def _assets(path, ids, files):
  """The stems of the image files of N ids, str[N]; empty where there is none.

  Of an id that the mapping has twice, the first image is taken.
  """
  table = tables.read_table(
    files.open_file(path), str(path), ["objid", "asset_id"], {}
  )
  for column in table:
    tables.check_ids(str(path), table[column])
  assets = pd.Series(table["asset_id"], index=table["objid"])
  assets = assets[~assets.index.duplicated()]
  return assets.reindex(ids, fill_value="").to_numpy(object)
