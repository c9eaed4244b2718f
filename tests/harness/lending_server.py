"""The server, with weights that are lent on the processor as they are on cards; arguments as of `tcp_server.py`."""

import functools
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

import asr_process  # noqa: E402
import tcp_server  # noqa: E402
from server.weights import WeightsOwner  # noqa: E402

if __name__ == "__main__":
    vars(asr_process)["WeightsOwner"] = functools.partial(WeightsOwner, lends_on=("cpu",))
    sys.exit(tcp_server.main())
