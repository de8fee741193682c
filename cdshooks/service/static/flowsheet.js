// Draws the flowsheet from the data block of the page; the chart library is served beside this file.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const chart = document.getElementById("chart");
const DAY = 24 * 3600 * 1000;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function palette() {
  return [colour("--link"), colour("--critical"), colour("--silent"), colour("--warning")];
}

// A result with "<" or ">" is a bound: an open mark at it.
function seriesTraces(panel, axis) {
  const colours = palette();
  return panel.series.filter((series) => series.points.length).map((series, i) => ({
    type: "scatter",
    mode: "lines+markers",
    name: `${series.name} (${series.unit})`,
    x: series.points.map((point) => point.at),
    y: series.points.map((point) => (panel.log ? Math.max(point.value, 1) : point.value)),
    text: series.points.map((point) => `${series.name}: ${point.words}`),
    hovertemplate: "%{text}<extra></extra>",
    line: { color: colours[i % colours.length], width: 1.5 },
    marker: {
      color: colours[i % colours.length],
      size: 7,
      symbol: series.points.map((point) => (point.bound ? "circle-open" : "circle")),
    },
    xaxis: "x",
    yaxis: axis,
  }));
}

// The drug panel: each order a bar as high as its amount a day, the label's dose a band behind it.
function drugTraces(drug, axis) {
  const traces = [];
  for (const expected of data.expected.filter((one) => one.drug === drug)) {
    const days = [], low = [], high = [], words = [];
    expected.steps.forEach((step, i) => {
      const next = i + 1 < expected.steps.length ? expected.steps[i + 1].on : expected.until;
      for (const day of [step.on, next]) {
        days.push(day);
        low.push(step.low);
        high.push(step.high);
        words.push(`Label: ${step.words}`);
      }
    });
    const line = { color: colour("--silent"), width: 1, dash: "dot", shape: "linear" };
    const shared = { type: "scatter", mode: "lines", x: days, line, xaxis: "x", yaxis: axis, showlegend: false };
    traces.push({ ...shared, y: low, hoverinfo: "skip" });
    traces.push({
      ...shared, y: high, text: words, hovertemplate: "%{text}<extra></extra>", fill: "tonexty", fillcolor: "rgba(80, 160, 110, 0.18)",
      name: `label, ${expected.unit} a day`, showlegend: false,
    });
  }
  for (const bar of data.bars.filter((one) => one.drug === drug)) {
    const amount = bar.amount === null ? 0 : bar.amount;
    traces.push({
      type: "scatter", mode: "lines", x: [bar.from, bar.from, bar.to, bar.to], y: [0, amount, amount, 0],
      fill: "toself", fillcolor: "rgba(60, 120, 190, 0.35)", line: { color: colour("--link"), width: 2 },
      text: Array(4).fill(bar.amount === null ? `${bar.words}: no dose a day could be read` : bar.words),
      hovertemplate: "%{text}<extra></extra>", hoveron: "points+fills", xaxis: "x", yaxis: axis, showlegend: false,
      name: bar.words,
    });
  }
  return traces;
}

function rows() {
  const drugs = [...new Set(data.bars.map((bar) => bar.drug))];
  const found = [];
  for (const panel of data.panels) {
    const first = panel.series[0];
    found.push({ name: panel.name, unit: panel.series.length > 1 ? "" : first.unit, log: panel.log, height: 2, make: (axis) => seriesTraces(panel, axis) });
    if (panel === data.panels[0]) {
      for (const drug of drugs) {
        const bar = data.bars.find((one) => one.drug === drug);
        found.push({ name: drug[0].toUpperCase() + drug.slice(1), unit: bar.unit ? `${bar.unit} a day` : "", height: 1.4, zero: true, make: (axis) => drugTraces(drug, axis) });
      }
    }
  }
  if (data.clearance.length) {
    found.push({
      name: "CrCl", unit: "mL/min", height: 2, zero: true,
      make: (axis) => [{
        type: "scatter", mode: "lines+markers", x: data.clearance.map((one) => one.at), y: data.clearance.map((one) => one.value),
        text: data.clearance.map((one) => one.words), hovertemplate: "%{text}<extra></extra>",
        line: { color: colour("--warning"), width: 1.5 }, marker: { size: 6 }, xaxis: "x", yaxis: axis, showlegend: false,
      }],
    });
  }
  return found;
}

function draw() {
  const listed = rows();
  const total = listed.reduce((sum, row) => sum + row.height, 0);
  const layout = {
    height: Math.max(320, 78 * total),
    margin: { l: 64, r: 12, t: 8, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--text"), size: 12, family: "system-ui, sans-serif" },
    hovermode: "closest",
    showlegend: false,
    xaxis: { type: "date", gridcolor: colour("--line"), linecolor: colour("--line"), anchor: `y${listed.length > 1 ? listed.length : ""}`, range: range() },
    annotations: [],
  };
  const traces = [];
  let top = 1;
  listed.forEach((row, i) => {
    const number = i ? i + 1 : "";
    const bottom = Math.max(0, top - row.height / total);
    layout[`yaxis${number}`] = {
      domain: [bottom + 0.012, top - 0.028],
      type: row.log ? "log" : "linear",
      rangemode: row.zero ? "tozero" : "normal",
      gridcolor: colour("--line"), zeroline: false, nticks: 4, automargin: false, fixedrange: true,
    };
    layout.annotations.push({
      text: `<b>${row.name}</b>${row.unit ? ` ${row.unit}` : ""}`, xref: "paper", yref: "paper", x: 0, y: top - 0.002,
      xanchor: "left", yanchor: "top", showarrow: false, font: { size: 12 },
    });
    traces.push(...row.make(`y${number}`));
    top = bottom;
  });
  return Plotly.react(chart, traces, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
}

let days = 0;
function range() {
  if (!days) {
    return undefined;
  }
  const end = new Date(data.today).getTime() + DAY;
  return [new Date(end - (days + 1) * DAY).toISOString(), new Date(end).toISOString()];
}

for (const button of document.querySelectorAll(".range button")) {
  button.addEventListener("click", () => {
    days = Number(button.dataset.days);
    for (const other of document.querySelectorAll(".range button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    Plotly.relayout(chart, days ? { "xaxis.range": range(), "xaxis.autorange": false } : { "xaxis.autorange": true });
  });
}

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copies);
    const told = button.parentElement.querySelector("[role=status]");
    try {
      await navigator.clipboard.writeText(text.textContent);
      told.textContent = "Copied.";
    } catch {
      text.hidden = false; // a frame may not be allowed to copy: then it can be marked by hand
      told.textContent = "Copying is not allowed here; the text stands below.";
    }
  });
}

const start = performance.now();
draw().then(() => { chart.dataset.drawn = String(Math.round(performance.now() - start)); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
