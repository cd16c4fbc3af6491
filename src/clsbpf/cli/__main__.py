"""`python -m clsbpf.cli`: the `clsbpf` command, where its script is not on the path."""

from . import main

main(prog_name="clsbpf")
