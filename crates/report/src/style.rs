//! What everything looks like.

/// Light, dark and paper.
pub(crate) const STYLE: &str = "
:root{--ground:#fbfbf9;--sheet:#fff;--ink:#1d2329;--soft:#5c6670;--rule:#e3e5e2;--grid:#ecedea;
--blue:#2b6cb0;--teal:#2a8c82;--amber:#d98e04;--red:#c53030;--violet:#7553b8;--grey:#c3c9ce;
--good:#1f7a4d;--neutral:#4a5568;--warning:#a86500;--bad:#b42323}
@media (prefers-color-scheme:dark){:root{--ground:#14171a;--sheet:#1b1f23;--ink:#e8eaec;--soft:#9aa4ad;
--rule:#2c3237;--grid:#262b30;--blue:#63a4e6;--teal:#4fbfb2;--amber:#f0b43c;--red:#f06a6a;--violet:#a98be8;
--grey:#4c555d;--good:#5ccb92;--neutral:#a0aec0;--warning:#f0b43c;--bad:#ff8080}}
@media print{:root{--ground:#fff;--sheet:#fff;--ink:#000;--soft:#444;--rule:#bbb;--grid:#ddd;--blue:#2b6cb0;
--teal:#2a8c82;--amber:#d98e04;--red:#c53030;--violet:#7553b8;--grey:#c3c9ce;--good:#1f7a4d;--neutral:#4a5568;
--warning:#a86500;--bad:#b42323}details::details-content{content-visibility:visible;block-size:auto}
figure,.card,tr{break-inside:avoid}body{font-size:11pt}main{padding:0}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',
Roboto,'Helvetica Neue',Arial,sans-serif;-webkit-font-smoothing:antialiased}
main{max-width:980px;margin:0 auto;padding:40px 24px 64px}
.kicker{margin:0 0 6px;color:var(--soft);font-size:13px;letter-spacing:.04em}
h1{margin:0 0 12px;font-size:30px;line-height:1.22;letter-spacing:-.015em;text-wrap:balance}
h1.good{color:var(--good)}h1.bad{color:var(--bad)}h1.warning{color:var(--warning)}
.lead{margin:0 0 20px;color:var(--soft);max-width:72ch}
h2{margin:44px 0 12px;font-size:20px;letter-spacing:-.01em}
h3{margin:0;font-size:16px;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
p{max-width:78ch}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(120px,1fr));gap:1px;margin:24px 0 0;padding:0;
background:var(--rule);border:1px solid var(--rule);border-radius:10px;overflow:hidden}
.facts div{background:var(--sheet);padding:12px 14px}
.facts dt{color:var(--soft);font-size:12.5px}
.facts dd{margin:2px 0 0;font-size:21px;font-weight:600;font-variant-numeric:tabular-nums}
figure{margin:16px 0 28px;padding:16px 16px 8px;background:var(--sheet);border:1px solid var(--rule);border-radius:10px}
figcaption{display:flex;flex-wrap:wrap;gap:4px 20px;justify-content:space-between;font-weight:600;font-size:14.5px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;margin:0;padding:0;list-style:none;font-weight:400;font-size:13px;color:var(--soft)}
.key{display:inline-block;width:10px;height:10px;margin-right:6px;border-radius:2px}
svg{display:block;width:100%;height:auto;font:11.5px system-ui,sans-serif}
.grid{stroke:var(--grid);fill:none}.axis{stroke:var(--soft);fill:none;stroke-opacity:.6}
.tick{fill:var(--soft);font-variant-numeric:tabular-nums}.note{fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--sheet);stroke-width:4px;stroke-linejoin:round}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.wash{fill-opacity:.16}
.limit{stroke:var(--ink);stroke-dasharray:2 4;fill:none;stroke-opacity:.7}
.event{stroke:var(--ink);stroke-dasharray:5 3;fill:none;stroke-opacity:.55}
.over{fill:transparent}.over:hover{fill:var(--ink);fill-opacity:.07}
.fill.blue,.wash.blue,.key.blue{fill:var(--blue);background:var(--blue)}.line.blue{stroke:var(--blue)}
.fill.teal,.wash.teal,.key.teal{fill:var(--teal);background:var(--teal)}.line.teal{stroke:var(--teal)}
.fill.amber,.wash.amber,.key.amber{fill:var(--amber);background:var(--amber)}.line.amber{stroke:var(--amber)}
.fill.red,.wash.red,.key.red{fill:var(--red);background:var(--red)}.line.red{stroke:var(--red)}
.fill.violet,.wash.violet,.key.violet{fill:var(--violet);background:var(--violet)}.line.violet{stroke:var(--violet)}
.fill.grey,.wash.grey,.key.grey{fill:var(--grey);background:var(--grey)}.line.grey{stroke:var(--grey)}
.card{margin:14px 0;padding:16px 18px;background:var(--sheet);border:1px solid var(--rule);border-left:4px solid var(--neutral);border-radius:10px}
.card.good{border-left-color:var(--good)}.card.warning{border-left-color:var(--warning)}.card.bad{border-left-color:var(--bad)}
.card header{display:flex;flex-wrap:wrap;gap:6px 10px;align-items:baseline}
.card p{margin:8px 0 0;max-width:none}.advice{color:var(--soft)}
.badge{font-size:12px;padding:1px 9px;border:1px solid var(--rule);border-radius:99px;color:var(--soft)}
.card.bad h3+.badge{color:var(--bad);border-color:currentColor}.card.warning h3+.badge{color:var(--warning);border-color:currentColor}
details{margin-top:10px}summary{cursor:pointer;color:var(--soft);font-size:14px}
.scroll{overflow-x:auto;margin-top:8px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{text-align:left;color:var(--soft);font-weight:500;border-bottom:1px solid var(--rule);padding:5px 14px 5px 0;white-space:nowrap}
td{padding:5px 14px 5px 0;border-bottom:1px solid var(--grid);vertical-align:top;overflow-wrap:anywhere}
th.number,td.number{text-align:right;white-space:nowrap}
footer{margin-top:48px;padding-top:14px;border-top:1px solid var(--rule);color:var(--soft);font-size:13px}
";
