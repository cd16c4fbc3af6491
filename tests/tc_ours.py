"""Our tc over our engine, run as the judge runs the real one."""

from __future__ import annotations

from collections.abc import Sequence

from clsbpf.endpoint import Endpoint
from clsbpf.engine.devices import Network
from clsbpf.tccmd.command import parse_command
from clsbpf.tccmd.errors import CommandError
from clsbpf.tccmd.options import parse_options
from clsbpf.tccmd.perform import perform
from clsbpf.tccmd.render import Names
from tc_judge import Ran, TcJudge


class Ours:
    """Our tc over our engine."""

    def __init__(self, judge: TcJudge) -> None:
        self.network = Network()
        for name, ifindex in sorted(judge.devices.items(), key=lambda item: item[1]):
            self.network.add_device(name, ifindex)
        self.endpoint = Endpoint(self.network)
        self.names = Names(judge.device_name)

    def run(self, words: Sequence[str]) -> Ran:
        try:
            options, rest = parse_options(words)
            command = parse_command(rest, self.network.ifindex, options=options)
            done = perform(command, self.endpoint.handle, self.names)
        except CommandError as error:
            # Help texts are our own.
            return Ran(error.exit_code, error.stdout, f"{error}\n" if str(error) else "")
        return Ran(0, done.stdout, f"{done.stderr}\n" if done.stderr else "")
