"""What the programs of this folder share: how they are started, and how they ask for trouble.

Each program is started by a test of `crates/e2e` with the client addresses of three members as
arguments. On its standard output it may say `kill N`, `kill leader` or `start N`; on its standard
input comes `done`, with the number of the member, when that has happened. Any other line tells what
it is doing. It ends with 0 when everything was as it should be.
"""

import os
import sys
import time
import traceback

# How long an answer or an event may take on a loaded machine, in seconds.
PATIENCE = 30


def members():
    """Addresses of the members as (host, port)."""
    addresses = [argument.rsplit(":", 1) for argument in sys.argv[1:]]
    assert len(addresses) == 3, "three addresses are expected, as HOST:PORT"
    return [(host, int(port)) for host, port in addresses]


def ask(what):
    """Asks for `what` to happen and waits until it has; the number of the member."""
    print(what, flush=True)
    answer = sys.stdin.readline().split()
    assert answer[:1] == ["done"], answer
    return int(answer[1])


def eventually(what, probe):
    """The first thing that is not None; fails when that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = probe()
        if found is not None:
            return found
        assert time.monotonic() < deadline, "waited in vain for " + what
        time.sleep(0.02)


def fails(kind, call, *arguments, **named):
    """The call raises an error of exactly this kind, which is returned."""
    try:
        result = call(*arguments, **named)
    except kind as error:
        assert type(error) is kind, repr(error)
        return error
    raise AssertionError("expected %s, got %r" % (kind.__name__, result))


def run(cases):
    """Runs each case and says so; ends the process."""
    for case in cases:
        print("case", case.__name__, flush=True)
        try:
            case()
        except BaseException:
            traceback.print_exc()
            print("failed:", case.__name__, file=sys.stderr, flush=True)
            # Threads of a library may still be waiting.
            os._exit(1)
    os._exit(0)
