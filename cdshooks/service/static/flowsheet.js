// Draws the flowsheet from the data block of the page; the chart library is served beside this file.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const chart = document.getElementById("chart");
const DAY = 24 * 3600 * 1000;
let days = 0; // shown, up to today; 0 for all

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function palette() {
  return [colour("--link"), colour("--critical"), colour("--silent"), colour("--warning")];
}

// Lines of a hover label: the words come from the record, so that nothing in them is markup; long ones are wrapped.
function label(lines) {
  const width = chart.clientWidth < 600 ? 38 : 70;
  const wrapped = [];
  for (const line of lines) {
    let current = "";
    for (const word of line.split(" ")) {
      if (current && current.length + word.length + 1 > width) {
        wrapped.push(current);
        current = "  ";
      }
      current += (current.trim() ? " " : "") + word;
    }
    wrapped.push(current);
  }
  return wrapped.map((line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")).join("<br>");
}

// How a level of resistance is marked: by shape and by colour.
const LEVELS = {
  high: { symbol: "x", colour: "--critical", size: 11 },
  moderate: { symbol: "x", colour: "--critical", size: 9 },
  low: { symbol: "triangle-up", colour: "--warning", size: 11 },
  possible: { symbol: "triangle-up-open", colour: "--warning", size: 11 },
  unknown: { symbol: "circle-open", colour: "--quiet", size: 8 },
  none: { symbol: "circle", colour: "--silent", size: 8 },
};

function resistanceTrace(axis) {
  const marks = data.resistance.flatMap((result) => result.drugs.map((one) => ({ at: result.at, ...one })));
  const look = (mark) => LEVELS[mark.level === "none" && mark.gap ? "unknown" : mark.level]; // half a look is no good news
  const named = chart.clientWidth >= 600 && data.resistance.length <= 4;
  const middle = (new Date(data.resistance.at(-1).at).getTime() + new Date(data.today).getTime()) / 2;
  return [{
    type: "scatter",
    mode: named ? "markers+text" : "markers",
    x: marks.map((mark) => mark.at),
    y: marks.map((mark) => mark.drug),
    text: marks.map((mark) => mark.words),
    textposition: marks.map((mark) => (new Date(mark.at).getTime() >= middle ? "middle left" : "middle right")),
    textfont: { size: 11 },
    hovertext: marks.map((mark) => label(mark.lines)),
    hoverinfo: "text",
    cliponaxis: false,
    marker: {
      symbol: marks.map((mark) => look(mark).symbol),
      size: marks.map((mark) => look(mark).size),
      color: marks.map((mark) => colour(look(mark).colour)),
      line: { width: 2, color: marks.map((mark) => colour(look(mark).colour)) },
    },
    xaxis: "x", yaxis: axis,
  }];
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
    hovertext: series.points.map((point) => label([`${series.name}: ${point.words}`])),
    hoverinfo: "text",
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
        words.push(label([`Label: ${step.words}`]));
      }
    });
    const line = { color: colour("--silent"), width: 1, dash: "dot", shape: "linear" };
    const shared = { type: "scatter", mode: "lines", x: days, line, xaxis: "x", yaxis: axis, showlegend: false };
    traces.push({ ...shared, y: low, hoverinfo: "skip" });
    traces.push({
      ...shared, y: high, hovertext: words, hoverinfo: "text", fill: "tonexty", fillcolor: "rgba(80, 160, 110, 0.18)",
      name: `label, ${expected.unit} a day`, showlegend: false,
    });
  }
  for (const bar of data.bars.filter((one) => one.drug === drug)) {
    const amount = bar.amount === null ? 0 : bar.amount;
    traces.push({
      type: "scatter", mode: "lines", x: [bar.from, bar.from, bar.to, bar.to], y: [0, amount, amount, 0],
      fill: "toself", fillcolor: "rgba(60, 120, 190, 0.35)", line: { color: colour("--link"), width: 2 },
      hovertext: Array(4).fill(label([bar.amount === null ? `${bar.words}: no dose a day could be read` : bar.words])),
      hoverinfo: "text", hoveron: "points+fills", xaxis: "x", yaxis: axis, showlegend: false,
      name: bar.words,
    });
  }
  return traces;
}

// Decades for a logarithmic axis; else some room around the results, so that a small change does not look like a large one.
function bounds(panel) {
  const values = panel.series.flatMap((series) => series.points.map((point) => point.value));
  if (!values.length) {
    return panel.log ? [1, 6] : [0, 1];
  }
  const lowest = Math.min(...values), highest = Math.max(...values);
  if (panel.log) {
    const [low, high] = [Math.floor(Math.log10(Math.max(lowest, 1))), Math.ceil(Math.log10(Math.max(highest, 1)))];
    return [low - 0.15, Math.max(high, low + 1) + 0.15];
  }
  return [lowest * 0.7, highest * 1.2];
}

function rows() {
  const drugs = [...new Set(data.bars.map((bar) => bar.drug))];
  const found = [];
  for (const panel of data.panels) {
    const first = panel.series[0];
    const unit = panel.series.length > 1 ? "" : first.unit;
    const axis = panel.log ? { type: "log", dtick: 1, exponentformat: "SI" } : { nticks: 4 };
    found.push({ name: panel.name, unit, height: panel.log ? 110 : 56, axis: { ...axis, range: bounds(panel) }, make: (y) => seriesTraces(panel, y) });
    if (panel === data.panels[0]) {
      if (data.resistance.length) {
        const listed = data.resistance[0].drugs.map((one) => one.drug).reverse();
        found.push({
          name: "Resistance", unit: "by drug", height: 18 * listed.length,
          axis: { type: "category", categoryorder: "array", categoryarray: listed, range: [-0.6, listed.length - 0.4] }, make: resistanceTrace,
        });
      }
      for (const drug of drugs) {
        const bar = data.bars.find((one) => one.drug === drug);
        found.push({
          name: drug[0].toUpperCase() + drug.slice(1), unit: bar.unit ? `${bar.unit} a day` : "", height: 56,
          axis: { rangemode: "tozero", nticks: 4 }, make: (y) => drugTraces(drug, y),
        });
      }
    }
  }
  if (data.clearance.length) {
    found.push({
      name: "Creatinine clearance", unit: "mL/min", height: 56, axis: { rangemode: "tozero", nticks: 4 },
      make: (axis) => [{
        type: "scatter", mode: "lines+markers", x: data.clearance.map((one) => one.at), y: data.clearance.map((one) => one.value),
        hovertext: data.clearance.map((one) => label([one.words])), hoverinfo: "text",
        line: { color: colour("--warning"), width: 1.5 }, marker: { size: 6 }, xaxis: "x", yaxis: axis, showlegend: false,
      }],
    });
  }
  return found;
}

const TITLE = 26; // pixels above each row for its name
const BOTTOM = 40;

function draw() {
  const listed = rows();
  const total = listed.reduce((sum, row) => sum + row.height + TITLE, 0);
  const layout = {
    width: chart.clientWidth,
    height: total + BOTTOM,
    uirevision: String(days), // what somebody has zoomed to stays when it is drawn again
    margin: { l: 78, r: 14, t: 0, b: BOTTOM },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--text"), size: 12, family: "system-ui, sans-serif" },
    hovermode: "closest",
    hoverlabel: { align: "left" },
    showlegend: false,
    xaxis: {
      type: "date", gridcolor: colour("--line"), linecolor: colour("--line"), nticks: chart.clientWidth < 600 ? 5 : 12,
      anchor: `y${listed.length > 1 ? listed.length : ""}`, range: range(),
    },
    annotations: [],
  };
  const traces = [];
  let top = total;
  listed.forEach((row, i) => {
    const number = i ? i + 1 : "";
    const bottom = top - TITLE - row.height;
    layout[`yaxis${number}`] = {
      domain: [bottom / total, (top - TITLE) / total],
      gridcolor: colour("--line"), zeroline: false, automargin: false, fixedrange: true, ...row.axis,
    };
    layout.annotations.push({
      text: row.unit ? `${row.name}, ${row.unit}` : row.name, xref: "paper", yref: "paper", x: 0, y: (top - TITLE + 3) / total,
      xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 12, weight: 600 },
    });
    traces.push(...row.make(`y${number}`));
    top = bottom;
  });
  return Plotly.react(chart, traces, layout, { displayModeBar: false, scrollZoom: false });
}

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

// One sheet of paper: as large as it fits on, and two before it cannot be read. The measure is A4 within its margins, in CSS pixels.
const PAPER = { width: 718, height: 1040 };

function fitToPaper() {
  const root = document.documentElement;
  document.body.classList.add("on-paper");
  let zoom = Math.min(1, PAPER.width / (chart.clientWidth + 32));
  for (; zoom > 0.5; zoom -= 0.02) {
    root.style.setProperty("--paper-width", `${PAPER.width / zoom}px`);
    if (document.body.scrollHeight * zoom <= PAPER.height) {
      break;
    }
  }
  root.style.setProperty("--paper-zoom", String(zoom));
}

addEventListener("beforeprint", fitToPaper);
addEventListener("afterprint", () => document.body.classList.remove("on-paper"));

const start = performance.now();
draw().then(() => { chart.dataset.drawn = String(Math.round(performance.now() - start)); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(draw, 150);
});
