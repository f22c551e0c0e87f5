"""``python -m roofline``: the command."""

from roofline.command.main import main

main()
