"""`python -m mien`, which torchrun starts too."""

from mien.cli import main

main()
