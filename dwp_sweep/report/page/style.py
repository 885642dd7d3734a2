"""The look of a report page: one column of text, figures and tables, in the reader's light or dark theme."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;--ink:#1d2127;--muted:#5b6472;--line:#e3e6ea;--paper:#fff;--soft:#f6f7f9;
--accent:#0b5cad;--bad:#b3261e;--good:#17744a}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--muted:#9aa3b2;--line:#2b3038;--paper:#14171c;
--soft:#1b1f26;--accent:#7db8f0;--bad:#f2857c;--good:#6fcf9f}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 "Segoe UI",system-ui,-apple-system,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
header,main,footer{max-width:1060px;margin:0 auto;padding:0 24px}
header{padding-top:44px}
.kicker{margin:0;color:var(--muted);font-size:14px;letter-spacing:.02em}
h1{margin:.1em 0 .5em;font:600 34px/1.2 Georgia,"Times New Roman","DejaVu Serif",serif;overflow-wrap:anywhere}
.lead{margin:0 0 .5em;font:400 20px/1.5 Georgia,"Times New Roman","DejaVu Serif",serif;max-width:52em}
.status{margin:1em 0 0;padding:10px 14px;border-left:3px solid var(--good);background:var(--soft);
font-size:15px}
.status.bad{border-color:var(--bad)}
.status ul{margin:.3em 0 0}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:28px 0 0;padding:10px 0;border-top:1px solid var(--line);
border-bottom:1px solid var(--line);font-size:14px}
a{color:var(--accent);text-decoration:none}
a:hover{text-decoration:underline}
section{padding:34px 0 6px}
h2{margin:0 0 .5em;font:600 24px/1.3 Georgia,"Times New Roman","DejaVu Serif",serif}
h3{margin:1.6em 0 .4em;font-size:17px}
p{margin:.4em 0 .8em;max-width:52em}
.note,.notes{color:var(--muted);font-size:14px}
.notes{padding-left:1.2em;max-width:60em}
.absent{padding:10px 14px;background:var(--soft);color:var(--muted);font-size:14px;border-radius:4px}
.scroll{overflow-x:auto;margin:.6em 0 1.4em}
table{border-collapse:collapse;font-size:14.5px;font-variant-numeric:tabular-nums;
border-bottom:1.5px solid var(--ink)}
caption{caption-side:top;text-align:left;padding:0 0 8px;font-weight:600;font-size:15px}
caption .files,figcaption .files{font-weight:400}
.files{white-space:nowrap;margin-left:.6em;font-size:13px}
thead th{border-top:1.5px solid var(--ink);border-bottom:1px solid var(--ink);font-weight:600;text-align:left;
vertical-align:bottom}
th,td{padding:5px 14px 5px 6px;white-space:nowrap}
tbody th{font-weight:400;text-align:left}
th.num,td.num{text-align:right}
tbody tr:hover{background:var(--soft)}
td[title]{cursor:help}
.best{font-weight:700}
.bad{color:var(--bad)}
.quiet{color:var(--muted)}
td.words{white-space:normal;text-align:left;min-width:13em}
thead th{white-space:normal}
.lead b{font-weight:600}
figure{margin:1.2em 0 1.8em}
figure img{display:block;height:auto;width:100%}
figcaption{margin-top:8px;color:var(--muted);font-size:14px;max-width:56em}
figcaption b{color:var(--ink)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:0 24px}
.pair figure{margin:.6em 0}
.beside{display:flex;flex-wrap:wrap;gap:0 56px}
.beside>div{max-width:100%}
.dense table{font-size:13px}
.dense th,.dense td{padding:3px 10px 3px 4px}
.dense tr.first th,.dense tr.first td{border-top:1px solid var(--line);padding-top:7px}
.light img{background:#fff;border-radius:4px;padding:6px}
details{margin:.6em 0;border-top:1px solid var(--line);padding-top:.5em}
summary{cursor:pointer;color:var(--accent);font-size:15px}
pre{overflow-x:auto;padding:12px 14px;background:var(--soft);border-radius:4px;font:13px/1.55 ui-monospace,
"SF Mono",Consolas,"DejaVu Sans Mono",monospace}
footer{padding:26px 24px 60px;color:var(--muted);font-size:13px}
@media (max-width:620px){body{font-size:15px}h1{font-size:27px}.lead{font-size:18px}
header,main,footer{padding-left:16px;padding-right:16px}}
@media print{nav,.files{display:none}section{break-inside:avoid-page}}
""".replace("\n", "")
