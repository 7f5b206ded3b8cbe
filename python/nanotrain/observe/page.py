"""The report's HTML and style. Which axis the plots are shown against is chosen without scripts."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title &middot; nanotrain</title>
<style>
:root { --ink: #111827; --soft: #6b7280; --line: #e5e7eb; --paper: #f8fafc; --blue: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; margin: 0; letter-spacing: -.02em; }
h2 { font-size: 18px; margin: 40px 0 12px; }
h3 { font-size: 14px; margin: 12px 0 6px; color: var(--soft); font-weight: 600; }
.subtitle { color: var(--soft); margin: 4px 0 24px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; }
.card, figure, table, .sample, details, dl, .events {
  background: #fff; border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 14px 16px; display: flex; flex-direction: column; }
.card span { color: var(--soft); font-size: 13px; }
.card b { font-size: 24px; font-variant-numeric: tabular-nums; letter-spacing: -.02em; }
.card small { color: var(--soft); }
input[name=axis] { position: absolute; opacity: 0; }
.axes { display: inline-flex; border: 1px solid var(--line); border-radius: 8px; background: #fff;
  overflow: hidden; margin-bottom: 12px; }
.axes label { padding: 5px 14px; cursor: pointer; color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 12px; }
figure { margin: 0; padding: 10px; display: none; }
figure img { width: 100%; display: block; }
#steps:checked ~ .plots .by-steps, #tokens:checked ~ .plots .by-tokens,
#seconds:checked ~ .plots .by-seconds { display: block; }
#steps:checked ~ .axes [for=steps], #tokens:checked ~ .axes [for=tokens],
#seconds:checked ~ .axes [for=seconds] { background: var(--blue); color: #fff; }
#steps:focus-visible ~ .axes [for=steps], #tokens:focus-visible ~ .axes [for=tokens],
#seconds:focus-visible ~ .axes [for=seconds] { outline: 2px solid var(--ink); }
table { border-collapse: separate; border-spacing: 0; width: 100%; overflow: hidden; }
th, td { padding: 7px 14px; text-align: right; font-variant-numeric: tabular-nums;
  border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; font-size: 13px; background: #fbfcfd; }
th:nth-child(2), td:nth-child(2) { text-align: left; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, Menlo,
  Consolas, monospace; margin: 0; }
.sample { padding: 12px 14px; margin-bottom: 8px; }
.sample b { color: var(--blue); font-weight: 600; }
details { padding: 8px 14px; margin-bottom: 8px; }
details .sample { border: 0; border-top: 1px solid var(--line); border-radius: 0; margin: 8px 0 0; }
summary { cursor: pointer; color: var(--soft); }
.events { margin: 0; padding: 10px 14px 10px 32px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 20px; padding: 14px;
  margin: 8px 0 0; font-size: 13px; border: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { figure { break-inside: avoid; } body { background: #fff; } }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="subtitle">$subtitle</p>
<div class="cards">
$cards
</div>

<h2>Course of the run</h2>
<section>
<input type="radio" name="axis" id="steps" checked>
<input type="radio" name="axis" id="tokens">
<input type="radio" name="axis" id="seconds">
<div class="axes"><label for="steps">steps</label><label for="tokens">tokens</label><label
 for="seconds">seconds</label></div>
<div class="plots">
$plots
</div>
</section>

<h2>Evaluations</h2>
<table>
<thead><tr><th>step</th><th>split</th><th>bpb</th><th>loss</th><th>batch loss</th>
<th>tokens</th></tr></thead>
<tbody>
$evaluations
</tbody>
</table>

<h2>Samples</h2>
$samples

<h2>Warnings and events</h2>
<ul class="events">
$events
</ul>

<h2>Configuration and machine</h2>
<details><summary>config.toml: every value and where it came from</summary>
<pre>$config</pre></details>
<details><summary>versions, machine, data and kernels</summary><dl>$facts</dl></details>
</main>
</body>
</html>
"""
