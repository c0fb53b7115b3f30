"""How pages look, on light and dark ground, on narrow screens and on paper; and how tables sort."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

_DARK = """--ground:#15171a;--text:#e7e8ea;--quiet:#a9adb4;--line:#3b4048;--panel:#1d2024;
--strong:#6fb3f2;--link:#8cc4ff;--root:#23364a"""

STYLE = (
    """
:root{color-scheme:light dark;--ground:#fff;--text:#1b1d20;--quiet:#575c64;--line:#cfd3d8;
--panel:#f5f6f8;--strong:#1f6fb5;--link:#0b5394;--root:#e2eefa}
@media (prefers-color-scheme:dark){:root{"""
    + _DARK
    + """}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:1.5rem clamp(1rem,4vw,2.5rem) 3rem;max-width:68rem;
background:var(--ground);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.5rem 0 .5rem}
p,figcaption{max-width:44rem;margin:.5rem 0;overflow-wrap:anywhere}
.quiet,caption,figcaption,footer{color:var(--quiet)}
a{color:var(--link)}
a:focus-visible,summary:focus-visible,button:focus-visible,.scroll:focus-visible{
outline:3px solid var(--strong);outline-offset:2px}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:1rem 0 0;padding:0}
dl.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;
margin:1.25rem 0 0}
.tiles div{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;
padding:.6rem .8rem}
.tiles dt{color:var(--quiet);font-size:.875rem}
.tiles dd{margin:0;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
figure{margin:1rem 0}
table{border-collapse:collapse;min-width:100%;font-size:.9375rem}
caption{text-align:left;padding:0 0 .5rem;max-width:calc(100vw - 2rem)}
th,td{padding:.35rem .75rem .35rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line);unicode-bidi:isolate}
th+td,th+th,td+td{padding-left:.75rem}
thead th{border-bottom:2px solid var(--quiet);vertical-align:bottom;white-space:nowrap}
tbody th{font-weight:600;overflow-wrap:anywhere;min-width:9rem}
td{overflow-wrap:anywhere}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:0;
cursor:pointer;text-decoration:underline dotted;text-underline-offset:.2em}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
svg.share{display:block;width:100%;min-width:4rem;height:4px;margin-top:2px;fill:var(--strong)}
svg text{fill:var(--text);font:12px system-ui,sans-serif}
svg.bars{display:block;width:100%;min-width:36rem;height:auto}
.bars line{stroke:var(--line)}
.bars rect{fill:var(--strong)}
.bars text{fill:var(--quiet)}
.layers rect{fill:var(--panel);stroke:var(--quiet)}
.layers .root rect{fill:var(--root);stroke:var(--strong);stroke-width:2}
.layers g text{text-anchor:middle;font-weight:600}
.layers text.quiet{fill:var(--quiet);font-weight:400;font-size:11px}
.layers path{fill:none;stroke:var(--quiet)}
.layers circle{fill:var(--quiet)}
.layers text.label{paint-order:stroke;stroke:var(--ground);stroke-width:5px;font-size:11px}
svg.layers{display:block;max-width:none;margin:0 auto}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--link);width:fit-content}
pre{overflow-x:auto;padding:.75rem;background:var(--panel);border:1px solid var(--line);
font-size:.875rem}
code{overflow-wrap:anywhere}
footer{margin-top:3rem;border-top:1px solid var(--line);font-size:.875rem}
@media print{
:root{color-scheme:light;--ground:#fff;--text:#000;--quiet:#444;--line:#bbb;--panel:#fff;
--strong:#1f6fb5;--link:#000;--root:#fff}
body{max-width:none;padding:0;font-size:10pt}
nav{display:none}
h2{break-after:avoid}
.scroll{overflow:visible}
svg.bars,svg.layers{max-width:100%;min-width:0;height:auto}
rect{print-color-adjust:exact;-webkit-print-color-adjust:exact}
tr,figure,.tiles div{break-inside:avoid}
thead{display:table-header-group}
table{font-size:8.5pt}
th+th,th+td,td+td{padding-left:.4rem}
th,td{padding-right:.4rem}
thead th{white-space:normal}
tbody th{min-width:0}
}
"""
)

# A table is sorted by the buttons in its heads, which are there only where scripts run.
SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const isNumber = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const first = isNumber ? "descending" : "ascending";
      const other = isNumber ? "ascending" : "descending";
      const order = before === first ? other : first;
      const sign = order === "ascending" ? 1 : -1;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const number = (row) => {
        const text = row.cells[place].dataset.order;
        return text === undefined ? null : Number(text);
      };
      const compare = (one, two) => {
        if (!isNumber) {
          const texts = [one, two].map((row) => row.cells[place].textContent);
          return sign * texts[0].localeCompare(texts[1], undefined, {numeric: true});
        }
        const [a, b] = [number(one), number(two)];
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (a - b);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
"""
