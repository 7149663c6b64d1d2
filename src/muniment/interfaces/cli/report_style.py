"""How the page of a report looks: on paper, in the dark and on a phone."""

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#55595f;--paper:#fff;--line:#d5d8dc;
--bar:#2f6f9f;--good:#17603a;--bad:#a3201d;--none:#5a5330;--wash:#f4f5f7;--link:#0b5394}
@media (prefers-color-scheme:dark){:root{--ink:#e8e9eb;--soft:#b3b8be;--paper:#16181b;
--line:#3c4147;--bar:#6aaedd;--good:#7fd3a4;--bad:#ff9a92;--none:#d8cc8f;--wash:#202327;
--link:#8cc4f2}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;background:var(--paper);
color:var(--ink);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere}
a{color:var(--link)}
h1{font-size:1.9rem;line-height:1.2;margin:.2rem 0 .4rem}
h2{font-size:1.35rem;margin:2.4rem 0 .6rem;padding-bottom:.3rem;border-bottom:2px solid var(--line)}
h3{font-size:1.05rem;margin:1.4rem 0 .3rem}
p{margin:.4rem 0}
small,.over{color:var(--soft);font-size:.85rem}
.lead{font-size:1.15rem}
code{font:.85em/1.4 ui-monospace,"Cascadia Mono",Menlo,Consolas,monospace}
table{width:100%;border-collapse:collapse;margin:.6rem 0;font-size:.93rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .5rem .35rem 0;
border-bottom:1px solid var(--line)}
th.n,td.n{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:normal;padding-right:0;
padding-left:.6rem}
.summary .id{white-space:nowrap}
.faults .id{width:45%}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.2rem 1rem;margin:.5rem 0}
dt{color:var(--soft)}
dd{margin:0}
.tally{list-style:none;display:flex;flex-wrap:wrap;gap:.8rem;padding:0;margin:.8rem 0}
.tally li{flex:1 1 11rem;background:var(--wash);border-left:.3rem solid var(--none);
padding:.6rem .8rem;border-radius:.2rem}
.tally b{display:block;font-size:1.7rem;line-height:1.2}
.tally .satisfied{border-color:var(--good)}
.tally .exceptions{border-color:var(--bad)}
.badge{font-size:.85rem;font-weight:600;white-space:nowrap;color:var(--none)}
.badge.satisfied{color:var(--good)}
.badge.exceptions{color:var(--bad)}
.badge.satisfied::before{content:"\\2713\\a0"}
.badge.exceptions::before{content:"!\\a0"}
.badge.partly{white-space:normal}
.badge.partly::before{content:"~\\a0"}
.badge.not-tested::before{content:"\\2013\\a0"}
.plots{display:grid;gap:1rem 2rem;
grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
.bars th{font-weight:400;width:9rem;overflow-wrap:normal}
.bars th,.bars td{border:0;padding-top:.15rem;padding-bottom:.15rem}
.bars .n{white-space:nowrap;width:1%}
caption,.bars thead{position:absolute;width:1px;height:1px;overflow:hidden;
clip-path:inset(50%);white-space:nowrap}
.bars svg{display:block;margin-top:.3rem}
rect{fill:var(--bar)}
@media (max-width:30rem){h1{font-size:1.5rem}dl{grid-template-columns:1fr;gap:0}
dt{margin-top:.4rem}.bars th{width:6.5rem}table{font-size:.88rem}
th.n,td.n{padding-left:.3rem}.plots{gap:1rem}
.tests thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.tests tr{display:grid;grid-template-columns:repeat(3,auto) 1fr;gap:0 1.2rem;
border-bottom:1px solid var(--line)}
.tests td{border:0}.tests .id{grid-column:1/-1;padding-bottom:0}
.tests .n{padding-left:0;text-align:left}
.tests .id+.n::before{content:"Tested "}.tests .n+.n::before{content:"Passed "}
.tests .n+.n+.n::before{content:"Exceptions "}}
@page{size:A4;margin:16mm 15mm}
@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--line:#bbb;--bar:#2f6f9f;--good:#17603a;
--bad:#a3201d;--none:#5a5330;--wash:#f4f5f7;--link:#000}
html{font-size:10pt}
body{padding:0;max-width:none}
h1{font-size:20pt}h2{font-size:14pt}h3{font-size:11pt}
h2,h3{break-after:avoid}
tr,dt,dd,p,.plot,.tally{break-inside:avoid}
thead{display:table-header-group}
thead,thead tr,h3+p{break-after:avoid}
tbody tr:first-child{break-before:avoid}
.to{display:none}
article>dl{break-after:avoid;break-inside:avoid}
.plots{grid-template-columns:1fr 1fr}
a{text-decoration:none}}
"""
