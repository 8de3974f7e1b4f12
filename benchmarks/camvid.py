"""CamVid for train.py: links to the folders of the public copy, with a list of class names.

    python -m benchmarks.camvid $ZOO_DATA/camvid runs/camvid
    python train.py --model unet --data runs/camvid

The copy of the SegNet tutorial (train, trainannot, val, ... of 480 x 360 pixels) has eleven classes
from 0, and void is 11, which must be declared by a class list.
"""

import argparse
import pathlib

CLASSES = (
    "sky building pole road pavement tree sign fence car pedestrian bicyclist unlabelled".split()
)
FOLDERS = "train trainannot val valannot test testannot".split()


def main(arguments=None):
    """Run the command."""
    parser = argparse.ArgumentParser("benchmarks.camvid", description=__doc__.split("\n")[0])
    parser.add_argument("source", type=pathlib.Path, help="the folder with train/, trainannot/ ...")
    parser.add_argument("out", type=pathlib.Path, help="a new folder for the links")
    args = parser.parse_args(arguments)
    for name in FOLDERS:
        if not (args.source / name).is_dir():
            parser.error(f"{args.source / name}: there is no such folder")
    try:
        args.out.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"{args.out}: it exists already. Remove it or choose another name")
    for name in FOLDERS:
        (args.out / name).symlink_to((args.source / name).resolve(), target_is_directory=True)
    (args.out / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
