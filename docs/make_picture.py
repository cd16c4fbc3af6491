"""Draws docs/run.svg, the README's picture: what `clsbpf run` prints of the example, on a terminal.

python docs/make_picture.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from clsbpf.api import Engine
from clsbpf.cli.report import Heading, print_report

HERE = Path(__file__).parent
CAPTURE, POLICY = "examples/office.pcap", "examples/policy.tc"


def main() -> None:
    """Run the example and export the report, without the font that rich would load from the network."""
    engine = Engine()
    engine.tc_batch(HERE.parent / POLICY, create_devices=True)
    results = engine.run(HERE.parent / CAPTURE)
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ clsbpf run {CAPTURE} -b {POLICY}", style="bold"))
    print_report(console, Heading([CAPTURE], "ingress"), results)
    template = re.sub(r"@font-face \{.*?\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    (HERE / "run.svg").write_text(
        console.export_svg(title="clsbpf", unique_id="clsbpf", code_format=template), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
