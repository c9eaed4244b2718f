"""What a benchmark of the gateway gives."""

from typing import NamedTuple, Optional

from bench.report import Columns, number


class Row(NamedTuple):
    """What a number of sessions cost.

    Attributes:
        others_give_way: whether the processes that are not the gateway's leave a core to it when it needs one.
        gateway_cores: processor time over time.
        gateway_mb: resident memory at the end.
        texts: results and growths of stable text that the client saw.
        later_median_ms, later_p95_ms, later_most_ms: of these, than without the gateway.
    """

    sessions: int
    packet_ms: int
    others_give_way: bool
    gateway_cores: float
    gateway_mb: float
    texts: int
    later_median_ms: Optional[float]
    later_p95_ms: Optional[float]
    later_most_ms: Optional[float]


COLUMNS: Columns[Row] = {
    "sessions": lambda row: str(row.sessions),
    "packet, ms": lambda row: str(row.packet_ms),
    "others give way": lambda row: "yes" if row.others_give_way else "no",
    "gateway, cores": lambda row: number(row.gateway_cores, 2),
    "gateway, MB": lambda row: number(row.gateway_mb),
    "texts": lambda row: str(row.texts),
    "later: median, ms": lambda row: number(row.later_median_ms, 1),
    "95 %, ms": lambda row: number(row.later_p95_ms, 1),
    "most, ms": lambda row: number(row.later_most_ms, 1),
}
