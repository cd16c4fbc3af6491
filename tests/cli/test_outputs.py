"""Result files and captures by class: whole under their names, or not there at all."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from clsbpf.capture import open_capture
from clsbpf.cli.execute import open_outputs
from clsbpf.cli.outputs import Outputs
from clsbpf.cli.split import SplitDirectory
from clsbpf.engine.results import Batch, arrow_schema
from clsbpf.errors import RunError
from judges import need_tool
from rows import Row, batch

ROWS = [
    Row(0, verdict=0, classid=0x10010, pref=10, handle=1),
    Row(1, verdict=2, classid=0x20000, chain=3, pref=49152, handle=0xFFFFFFFF, time=-1),
    Row(2, verdict=-1, data=b"\x03" * 40, length=1514),
    Row(3, verdict=0, classid=0x10010, pref=10, handle=1, time=1_700_000_000_000_000_001),
]

READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": pa.parquet.read_table,
    ".arrow": lambda path: pa.ipc.open_file(path).read_all(),
    ".csv": lambda path: pa.csv.read_csv(
        path, convert_options=pa.csv.ConvertOptions(column_types=arrow_schema())
    ),
}


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("batches", [[ROWS], [ROWS[:1], ROWS[1:]], [[]], []], ids=["1", "2", "empty", "0"])
def test_rows_come_back(suffix: str, batches: list[list[Row]], tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    with open_outputs(str(path), None) as outputs:
        for rows in batches:
            outputs.write(batch(rows))
        outputs.commit()
    table = READERS[suffix](path)
    assert table.schema.equals(arrow_schema())
    wanted = [row for rows in batches for row in rows]
    assert table.num_rows == len(wanted)
    numbers = table.set_column(1, "time", table["time"].cast(pa.int64())).to_pylist()
    assert [tuple(got.values()) for got in numbers] == [
        (
            row.packet,
            row.time,
            row.length or len(row.data),
            row.verdict,
            row.classid,
            row.chain,
            row.pref,
            row.handle,
        )
        for row in wanted
    ]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", READERS)
def test_what_is_not_committed_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    before = tmp_path / f"rows{suffix}"
    before.write_bytes(b"an earlier result")
    with open_outputs(str(before), str(tmp_path / "split")) as outputs:
        outputs.write(batch(ROWS))
        assert not (tmp_path / "split" / "1-10.pcap").exists()
    assert os.listdir(tmp_path) == [before.name]
    assert before.read_bytes() == b"an earlier result"


def test_a_result_file_replaces_an_earlier_one_and_keeps_links(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    with open_outputs(str(tmp_path / "link.csv"), None) as outputs:
        outputs.commit()
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith('"packet","time"')


@pytest.mark.parametrize(
    ("results", "split", "message"),
    [
        ("r.json", None, "--results r.json: the name must end in one of .parquet, .arrow, .csv"),
        ("r", None, "must end in one of"),
        ("nosuch/r.csv", None, "No such file or directory"),
        ("directory.csv", None, "--results directory.csv: that is a directory"),
        ("file/r.csv", None, "Not a directory"),
        (None, "file", "--split file: "),
        (None, "nosuch/split", "--split nosuch/split: No such file or directory"),
        (None, "full", "--split full: the directory is not empty"),
        ("r.csv", "full", "--split full: the directory is not empty"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(
    results: str | None, split: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("directory.csv").mkdir()
    Path("file").touch()
    Path("full").mkdir()
    Path("full/other").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError) as raised:
        open_outputs(results, split)
    assert message in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("suffix", [*READERS, None])
def test_a_disk_that_fills_up_is_one_error_and_leaves_nothing(suffix: str | None, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    rows = batch([Row(at, time=at * 7919**3) for at in range(2000)])
    path = str(tmp_path / f"out{suffix or ''}")

    def fill(outputs: Outputs) -> None:
        outputs.write(rows)
        outputs.commit()

    with open_outputs(*((path, None) if suffix else (None, path))) as outputs:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(RunError, match=r"out.*: .*File too large"):
                fill(outputs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def split(directory: Path, batches: list[Batch]) -> dict[str, list[tuple[int, int, bytes]]]:
    """What `SplitDirectory` makes of batches: by file, the packets' times, lengths and bytes."""
    output = SplitDirectory(str(directory))
    for each in batches:
        output.write(each)
    output.commit()
    found = {}
    for path in sorted(directory.iterdir()):
        with open_capture(str(path)) as capture:
            found[path.name] = [(rec.time_ns, rec.length, bytes(data)) for rec, data in capture]
    return found


def test_a_capture_a_class_in_the_packets_order(tmp_path: Path) -> None:
    found = split(tmp_path / "split", [batch(ROWS[:2]), batch(ROWS[2:])])
    assert found == {
        "1-10.pcap": [(ROWS[0].time, 60, ROWS[0].data), (ROWS[3].time, 60, ROWS[3].data)],
        "2-0.pcap": [(0, 60, ROWS[1].data)],  # a time before 1970 cannot be said in a pcap file
        "unclassified.pcap": [(ROWS[2].time, 1514, ROWS[2].data)],
    }


def test_each_link_type_has_its_own_captures(tmp_path: Path) -> None:
    found = split(tmp_path, [batch(ROWS[:1]), batch(ROWS[:1], link_type=113), batch(ROWS[:1], link_type=999)])
    assert list(found) == ["1-10.linktype-999.pcap", "1-10.linux_sll.pcap", "1-10.pcap"]
    with open_capture(str(tmp_path / "1-10.linux_sll.pcap")) as capture:
        assert capture.interfaces[0].link_type == 113


def test_too_many_classes_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsbpf.cli.split.MAX_FILES", 2)
    output = SplitDirectory(str(tmp_path / "split"))
    with pytest.raises(RunError, match="more than 2 classes"):
        output.write(batch(ROWS))
    output.discard()
    assert os.listdir(tmp_path) == []


def test_tcpdump_reads_the_captures(tmp_path: Path) -> None:
    tcpdump = need_tool("tcpdump")
    split(tmp_path / "split", [batch(ROWS)])
    run: Any = subprocess.run(
        [tcpdump, "-n", "--count", "-r", tmp_path / "split" / "1-10.pcap"], capture_output=True, text=True
    )
    assert run.stdout == "2 packets\n"
