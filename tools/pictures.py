"""What may not be published: pictures and tables of data sets; a pre-commit hook, a step of release-check.

`python -m tools.pictures FILE ...` says which of the files are refused.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

# Pictures stand where documents show them; FER-2013's are 48 by 48 and may not be passed on.
PICTURE_FOLDERS = ("docs/images/", "examples/")
PICTURE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
DATA_SUFFIXES = {".avi", ".csv", ".mov", ".mp4", ".npy", ".npz", ".parquet", ".pt", ".safetensors", ".webm"}
FER2013_SIZE = (48, 48)


def is_suspect(name: str) -> bool:
    """Whether a file's content must be looked at, by its name alone."""
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES | DATA_SUFFIXES


def refusal(name: str, content: bytes) -> str | None:
    """Why a file may not be published, or None; `name` is its path in the repository."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in DATA_SUFFIXES:
        return f"{name} is data, which is not published"
    if suffix not in PICTURE_SUFFIXES:
        return None
    if not name.startswith(PICTURE_FOLDERS):
        return f"{name} is a picture outside {' and '.join(PICTURE_FOLDERS)}"
    try:
        size = Image.open(BytesIO(content)).size
    except UnidentifiedImageError:
        return f"{name} is no picture"
    return f"{name} has the size of FER-2013's pictures" if size == FER2013_SIZE else None


def main(names: list[str]) -> int:
    """Print the refusals; 1 where there are any."""
    refusals = [told for name in names if (told := refusal(name, Path(name).read_bytes()))]
    print("\n".join(refusals), end="\n" if refusals else "")
    return 1 if refusals else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
