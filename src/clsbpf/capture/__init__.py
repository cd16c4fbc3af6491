"""pcap and pcapng captures: reading and writing.

`open_capture(path)` gives a `Capture`; iterating over it gives its packets.  The formats themselves
(`pcap`, `pcapng`) are sans-IO; `source` says where bytes come from, `writer` where they go.
"""

from .file import Capture, open_capture
from .record import Block, Interface, Reader, Record
from .source import Source, Window, open_source
from .writer import Budget, PcapngWriter, PcapWriter

__all__ = [
    "Block",
    "Budget",
    "Capture",
    "Interface",
    "PcapWriter",
    "PcapngWriter",
    "Reader",
    "Record",
    "Source",
    "Window",
    "open_capture",
    "open_source",
]
