"""``python -m roofline``: the command."""

from roofline.cli import main

main()
