"""Files for TensorBoard's projector: vectors, their names and their images.

https://www.tensorflow.org/tensorboard/tensorboard_projector_plugin: `tensorboard --logdir FOLDER`
shows the vectors by PCA, t-SNE or UMAP, each as its image. The files are text, and one picture;
no package is needed to write them.
"""

import math

import numpy as np

from zoo import plots
from zoo.describe import one_line
from zoo.inference import prediction
from zoo.tasks import images
from zoo.tasks.image_embedding import figures

SIDE = 48  # pixels of a vector's image
LARGEST = 8192  # pixels of the picture of all images, the limit of TensorBoard
CONFIG = """embeddings {{
  tensor_name: "vectors"
  tensor_path: "vectors.tsv"
  metadata_path: "names.tsv"
  sprite {{
    image_path: "images.png"
    single_image_dim: {side}
    single_image_dim: {side}
  }}
}}
"""


def write(folder, names, vectors, examples, info):
    """Write projector_config.pbtxt, vectors.tsv, names.tsv and images.png.

    Args:
        folder: where to write.
        names: of the files, n.
        vectors: (n, D).
        examples: an iterable of the files' images, (H, W, C) as a reader returns them.
        info: of the model.
    """
    side = min(SIDE, LARGEST // math.ceil(math.sqrt(len(names))))
    tiles = [square(figures.thumbnail(image, info), side) for image in examples]
    lines = "".join(f"{one_line(str(name))}\n" for name in names)

    def text(content):
        return lambda path: path.write_text(content, "utf-8", "backslashreplace")

    whole = prediction.whole
    whole(lambda path: np.savetxt(path, vectors, "%.9g", "\t"), folder / "vectors.tsv")
    whole(text(lines), folder / "names.tsv")
    whole(lambda path: plots.save_image(path, sprite(tiles)), folder / "images.png")
    whole(text(CONFIG.format(side=side)), folder / "projector_config.pbtxt")


def sprite(tiles):
    """Return square tiles (s, s, 3) as one square picture, row by row, white where none is left."""
    side, count = len(tiles[0]), math.ceil(math.sqrt(len(tiles)))
    picture = np.ones((count * side, count * side, 3), np.float32)
    for i, tile in enumerate(tiles):
        top, left = (side * place for place in divmod(i, count))
        picture[top : top + side, left : left + side] = tile
    return picture


def square(image, side):
    """Return an image (h, w, 3) fitted into a white square of a side."""
    factor = side / max(image.shape[:2])
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    tile, top, left = np.ones((side, side, 3)), (side - height) // 2, (side - width) // 2
    small = np.clip(images.resize(image, height, width), 0, 1)
    tile[top : top + height, left : left + width] = small
    return np.float32(tile)
