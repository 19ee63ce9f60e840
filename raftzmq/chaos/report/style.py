"""How the report looks: light, dark, printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TERM_COLOURS: Final = 6
FAULT_COLOURS: Final = 8
_DISKS: Final = "disk"
_FAMILIES: Final[Mapping[str, str]] = {
    "slow-disk": _DISKS, "fsync-error": _DISKS, "fill-disk": _DISKS, "wake-cut-off": "pause",
    "rolling-restart": "restart", "wipe-node": "wipe",
}  # fmt: skip

STYLE: Final = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b2230;--dim:#5d6777;--rule:#dfe3ea;
--panel:#f6f7f9;--good:#1a7f45;--good-bg:#e7f5ec;--bad:#c02626;--bad-bg:#fdecec;--doubt:#9a6700;
--reads:#2f6fce;--writes:#12925a;--unknown:#d13b3b;--refused:#d98a14;--stall:#d1242f;
--t0:#4c78a8;--t1:#59a14f;--t2:#b07aa1;--t3:#9c755f;--t4:#e08a1e;--t5:#3a9a9a;
--f0:#7a5cc2;--f1:#c2557a;--f2:#b3741c;--f3:#3b8aa8;--f4:#6b8e23;--f5:#8a5a44;--f6:#4a6fb5;
--f7:#777f8c}
@media (prefers-color-scheme:dark){:root{--page:#12161d;--ink:#e5e9f0;--dim:#9aa5b5;
--rule:#2c3441;--panel:#1a2029;--good:#4cc38a;--good-bg:#12291e;--bad:#ff7b72;--bad-bg:#33181a;
--doubt:#e3b341;--reads:#6ea8ff;--writes:#3fcf8e;--unknown:#ff6b6b;--refused:#f0b14a;
--stall:#ff6b6b;--t0:#6b9bd1;--t1:#74bd6a;--t2:#c795b9;--t3:#b8917b;--t4:#f0a54a;--t5:#56bcbc;
--f0:#a48bea;--f1:#e27fa2;--f2:#d99a45;--f3:#62b3d3;--f4:#98bd4a;--f5:#b98a72;--f6:#7c9fe6;
--f7:#9aa3b0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1240px;padding:24px 20px 60px;background:var(--page);
color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:22px;margin:0 0 2px}h2{font-size:18px;margin:34px 0 10px}
p{margin:6px 0}a{color:inherit}.dim{color:var(--dim)}
.verdict{border-left:8px solid;border-radius:6px;padding:14px 20px;margin:14px 0}
.verdict b{font-size:26px;letter-spacing:.02em;margin-right:10px}
.verdict p{font-size:17px;margin:2px 0}
.passed{border-color:var(--good);background:var(--good-bg)}.passed b{color:var(--good)}
.failed{border-color:var(--bad);background:var(--bad-bg)}.failed b{color:var(--bad)}
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin:14px 0}
.tiles div{background:var(--panel);border:1px solid var(--rule);border-radius:6px;
padding:8px 14px;min-width:118px;flex:1}
.tiles strong{display:block;font-size:20px;font-variant-numeric:tabular-nums}
.tiles span{color:var(--dim);font-size:13px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;font-weight:600;color:var(--dim);border-bottom:2px solid var(--rule)}
th,td{padding:5px 10px;vertical-align:top}td{border-bottom:1px solid var(--rule)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.s{white-space:nowrap}td.k{overflow-wrap:anywhere;min-width:260px}
.yes{color:var(--good);font-weight:700}.no{color:var(--bad);font-weight:700}
.doubt{color:var(--doubt);font-weight:700}
tr.wrong td{background:var(--bad-bg)}
tr:target td{outline:2px solid var(--reads)}
code,pre{font:13px/1.45 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--panel);border:1px solid var(--rule);border-radius:6px;padding:10px 12px;
margin:6px 0;white-space:pre-wrap;overflow-wrap:anywhere}
details{border:1px solid var(--rule);border-radius:6px;margin:6px 0;padding:4px 12px}
summary{cursor:pointer;padding:3px 0}details pre{border:0;padding:6px 0;background:none}
pre .at{color:var(--dim)}pre .hit{font-weight:700}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:var(--dim);margin:4px 0}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;
vertical-align:-1px}.legend i.line{height:3px;vertical-align:3px}
.legend i.dash{background:none!important;border-top:2px dashed;width:22px;height:0;border-radius:0;
vertical-align:4px}
figure{margin:12px 0}figure img{max-width:none;display:block}
figcaption{font-weight:600;margin-bottom:4px}
svg.chart{display:block;width:100%;min-width:760px;height:auto}
svg.chart text{fill:var(--dim);font:11px system-ui,sans-serif}
svg.chart text.name{fill:var(--ink);font-size:12px;font-weight:600}
svg.chart text.on{fill:#fff;font-weight:600;font-size:10.5px}
@media (prefers-color-scheme:dark){svg.chart text.on{fill:#10141a}}
svg.chart .grid{stroke:var(--rule);stroke-width:1}
svg.chart .frame{fill:var(--panel)}
svg.chart path{fill:none;stroke-width:1.6;stroke-linejoin:round}
svg.chart .band{opacity:.13}svg.chart .stall{fill:var(--stall);opacity:.42}
svg.chart .unfired{fill:none!important;stroke:var(--bad);stroke-width:1.5;stroke-dasharray:3 2}
@media print{:root{color-scheme:light}body{max-width:none;padding:0;font-size:11px}
h2{break-after:avoid}tr,figure,.verdict,svg.chart{break-inside:avoid}
.wide{overflow:visible}svg.chart{min-width:0}figure img{max-width:100%}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def term_colour(term: int) -> str:
    """The colour of a term; neighbours differ."""
    return f"var(--t{term % TERM_COLOURS})"


def fault_colours(kinds: list[str]) -> dict[str, str]:
    """A colour for each kind of fault; one per family (kill, partition, ...) when there are many,
    and in the order of families then."""
    if len(kinds) <= FAULT_COLOURS:
        return {kind: f"var(--f{n})" for n, kind in enumerate(kinds)}
    families = list(dict.fromkeys(family(kind) for kind in kinds))
    return {
        kind: f"var(--f{min(families.index(family(kind)), FAULT_COLOURS - 1)})"
        for kind in sorted(kinds, key=lambda each: families.index(family(each)))
    }


def family(kind: str) -> str:
    """What a kind of fault is one of."""
    return _FAMILIES.get(kind, kind.partition("-")[0])
