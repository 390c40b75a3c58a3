// The plots: Vega-Lite draws what the page holds as data; colours that depend on the theme are CSS.
const sections = JSON.parse(document.getElementById("points").textContent);
// An empty selection has no extent, of which Vega would warn.
const ERRORS = 1;
const GREY = "#8b9498";
const HUES = [
  "#3f8f95", "#d0813a", "#6f7fc4", "#b05c86", "#7a9a3d", "#b99a2b", "#5aa0d6", "#a56a4c", "#8a6fb0", "#c9605b",
  "#3c8a62", "#d18fb1", "#8f9fe0", "#a3b07a", "#c58f6c",
];
const SHAPES = ["circle", "square", "triangle-up", "diamond"];
const config = {
  background: "transparent", font: "system-ui, sans-serif", view: { stroke: null },
  axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", domain: false, ticks: false, labelPadding: 6 },
  legend: { labelFontSize: 12, symbolOpacity: 1, symbolStrokeWidth: 0, labelLimit: 210 },
};
// A method looks the same in every plot of the page.
const everyone = [...new Set(Object.values(sections).flatMap((section) =>
  section.names.filter((_, m) => section.roles[m] === "")))].sort();
function looks(section, m) {
  const place = everyone.indexOf(section.names[m]);
  return place < 0 ? { hue: GREY, shape: section.roles[m] === "floor" ? "circle" : "cross" }
    : { hue: HUES[place % HUES.length], shape: SHAPES[place % SHAPES.length] };
}
const named = (section) => ({ name: "names", value: section.names });
const label = (limit) => ({ labelExpr: "names[datum.value]", labelLimit: limit });
const metricName = (section, metric) => (metric === "dice" ? "Dice" : section.distance);

function cases(section, metric, wanted, narrow) {
  const values = section.points
    .filter(([method, , structure]) => structure === wanted.structure && shows(section, method, wanted))
    .map(([method, number, , dice, asd]) => ({
      m: method, name: section.names[method], n: number, patient: section.cases[number][0],
      c: section.cases[number][1], v: metric === "dice" ? dice : asd, role: section.roles[method],
    }));
  const title = metricName(section, metric) + (wanted.structure ? `, ${wanted.structure}` : "");
  const x = { field: "v", type: "quantitative", title, scale: { zero: metric === "asd", nice: true }, axis: { grid: true, tickCount: 5 } };
  const y = { field: "m", type: "ordinal", title: null, axis: label(narrow ? 105 : 190) };
  return {
    height: 24 * Math.max(1, new Set(values.map((point) => point.m)).size), data: { values }, params: [named(section)],
    layer: [
      {
        transform: [{ filter: { param: "case", empty: false } }],
        mark: { type: "line", color: "#d0813a", strokeWidth: 1.5, opacity: 0.9 },
        encoding: { x, y, order: { field: "m" }, detail: { field: "n" } },
      },
      {
        params: [{ name: "case", select: { type: "point", fields: ["n"], on: "pointerover", clear: "pointerout" } }],
        mark: { type: "circle", cursor: "pointer" },
        encoding: {
          x, y,
          color: {
            condition: [
              { param: "case", empty: false, value: "#d0813a" },
              { test: "datum.role != ''", value: GREY },
            ],
            value: "#3f8f95",
          },
          size: { condition: { param: "case", empty: false, value: 90 }, value: 42 },
          opacity: { condition: { param: "case", empty: false, value: 1 }, value: 0.55 },
          tooltip: [
            { field: "patient", title: "Patient" }, { field: "c", title: "Case" },
            { field: "name", title: "Method" }, { field: "v", title },
          ],
        },
      },
    ],
  };
}

function curves(section, metric, wanted, narrow) {
  const found = section.curves
    .filter(([method, , which]) => which === metric && shows(section, method, wanted))
    .map(([method, labelled, , mean, low, high]) => ({
      m: method, name: section.names[method], role: section.roles[method], x: labelled, v: mean, low, high,
    }));
  const values = found.filter((point) => point.role !== "ceiling");
  const ceiling = found.filter((point) => point.role === "ceiling").slice(0, 1);
  const methods = [...new Set(values.map((point) => point.m))];
  const range = methods.map((m) => looks(section, m).hue);
  const shapes = methods.map((m) => looks(section, m).shape);
  const x = {
    field: "x", type: "quantitative", title: "Labelled patients", scale: { type: "log", nice: false, padding: 12 },
    axis: { values: [...new Set(values.map((point) => point.x))], format: "~g", grid: false },
  };
  // The lines decide on the scale: a single wide band would press them together.
  const means = found.map((point) => point.v).filter((value) => value !== null);
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const room = 0.35 * (high - low) || 0.05;
  const scale = { domain: [Math.max(0, low - room), high + room], zero: false, nice: true };
  const color = {
    field: "m", type: "nominal", scale: { domain: methods, range },
    legend: { orient: "bottom", columns: narrow ? 1 : 2, title: null, ...label(narrow ? 230 : 190) },
  };
  const on = (yes, no) => ({ condition: { param: "pick", empty: false, value: yes }, value: no });
  const tooltip = [
    { field: "name", title: "Method" }, { field: "x", title: "Labelled" },
    { field: "v", title: metricName(section, metric) }, { field: "low", title: "95% low" }, { field: "high", title: "95% high" },
  ];
  const y = { field: "v", type: "quantitative", title: metricName(section, metric), scale, axis: { tickCount: 5 } };
  return {
    height: 250, data: { values }, params: [named(section)], encoding: { x, color },
    layer: [
      {
        mark: { type: "area", clip: true },
        // Many bands on each other would say nothing: all but the one pointed at grow faint.
        encoding: { y: { ...y, field: "low" }, y2: { field: "high" }, opacity: on(0.28, Math.min(0.06, 0.2 / methods.length)) },
      },
      {
        mark: { type: "line" },
        encoding: {
          y, opacity: on(1, 0.8), size: on(3.5, 2),
          strokeDash: { condition: { test: "datum.role == 'floor'", value: [5, 4] }, value: [1, 0] },
        },
      },
      {
        params: [{ name: "pick", select: { type: "point", fields: ["m"], on: "pointerover", clear: "pointerout" } }],
        mark: { type: "point", filled: true, size: 80, opacity: 1, cursor: "pointer" },
        encoding: { y, tooltip, shape: { field: "m", type: "nominal", scale: { domain: methods, range: shapes }, legend: color.legend } },
      },
      ...(ceiling.length ? [{
        data: { values: ceiling }, mark: { type: "rule", strokeDash: [2, 3], strokeWidth: 2, color: GREY },
        encoding: { x: null, color: null, y, tooltip: tooltip.filter((each) => each.field !== "x") },
      }] : []),
    ],
  };
}

function shows(section, method, wanted) {
  // The references stay: they are what every family is compared with.
  return !wanted.family || section.roles[method] !== "" || section.families[method] === wanted.family;
}

function ranks(section, metric, wanted, narrow) {
  const values = section.ranks
    .filter(([method]) => shows(section, method, wanted))
    .map(([method, scheme, rank]) => ({ m: method, name: section.names[method], scheme, rank }));
  const spans = section.ranges
    .filter(([method]) => shows(section, method, wanted))
    .map(([method, low, high]) => ({ m: method, name: section.names[method], low, high }));
  const schemes = [...new Set(values.map((point) => point.scheme))];
  const order = spans.map((span) => span.m);
  const x = { type: "quantitative", title: "Rank", scale: { domainMin: 0.5, nice: false }, axis: { tickMinStep: 1, format: "d", grid: true } };
  const y = { field: "m", type: "ordinal", sort: order, title: null, axis: label(narrow ? 105 : 190) };
  return {
    height: 26 * Math.max(1, order.length), data: { values }, params: [named(section)],
    layer: [
      {
        data: { values: spans }, mark: { type: "bar", height: 12, cornerRadius: 6, color: GREY, opacity: 0.35 },
        encoding: {
          y, x: { ...x, field: "low" }, x2: { field: "high" },
          tooltip: [{ field: "name", title: "Method" }, { field: "low", title: "95% low" }, { field: "high", title: "95% high" }],
        },
      },
      {
        mark: { type: "point", size: 75, strokeWidth: 2, filled: false, opacity: 1 },
        encoding: {
          y, x: { ...x, field: "rank" },
          color: { field: "scheme", type: "nominal", scale: { domain: schemes, range: HUES }, legend: { orient: "bottom", columns: narrow ? 1 : 3, title: null, symbolStrokeWidth: 2 } },
          shape: { field: "scheme", type: "nominal", scale: { domain: schemes } },
          tooltip: [{ field: "name", title: "Method" }, { field: "scheme", title: "Scheme" }, { field: "rank", title: "Rank" }],
        },
      },
    ],
  };
}

function costs(section, metric, wanted, narrow) {
  const values = section.costs
    .filter(([method]) => shows(section, method, wanted))
    .map(([method, seconds, dice, asd]) => ({
      m: method, name: section.names[method], s: seconds, v: metric === "dice" ? dice : asd,
    }))
    .filter((point) => point.v !== null);
  const domain = values.map((point) => point.m);
  const legend = { orient: "bottom", columns: narrow ? 1 : 2, title: null, ...label(narrow ? 230 : 190) };
  const scaled = (part) => ({ field: "m", type: "nominal", scale: { domain, range: domain.map((m) => looks(section, m)[part]) }, legend });
  const title = metricName(section, metric);
  return {
    height: 260, data: { values }, params: [named(section)],
    mark: { type: "point", filled: true, size: 110, opacity: 1 },
    encoding: {
      x: { field: "s", type: "quantitative", title: "Seconds of training of a run", scale: { zero: true }, axis: { grid: false, format: "~s", tickCount: 5 } },
      y: { field: "v", type: "quantitative", title, scale: { zero: false, padding: 16 }, axis: { tickCount: 5 } },
      color: scaled("hue"), shape: scaled("shape"),
      tooltip: [{ field: "name", title: "Method" }, { field: "s", title: "Seconds", format: ".1f" }, { field: "v", title }],
    },
  };
}

const makers = { cases, curves, ranks, costs };
const drawn = new Map();

async function draw(wanted) {
  for (const figure of document.querySelectorAll("figure[data-plot]")) {
    const section = sections[figure.dataset.section];
    const what = [wanted.family, figure.dataset.plot === "cases" ? wanted.structure : ""].join("|");
    if (figure.dataset.drawn === what) continue;
    figure.dataset.drawn = what;
    figure.hidden = false;
    for (const plot of figure.querySelectorAll(".plot")) {
      drawn.get(plot)?.finalize();
      const narrow = plot.clientWidth > 0 && plot.clientWidth < 420;
      const spec = makers[figure.dataset.plot](section, plot.dataset.metric, wanted, narrow);
      const whole = { ...spec, width: "container", autosize: { type: "fit-x", contains: "padding" }, config };
      drawn.set(plot, await window.vegaEmbed(plot, whole, {
        mode: "vega-lite", logLevel: ERRORS, renderer: "svg", actions: false, tooltip: { disableDefaultStyle: true },
      }));
    }
  }
}

const selects = [...document.querySelectorAll("[data-filter]")].map((select) => [select.dataset.filter, select.value]);
let last = draw({ structure: "", family: "", ...Object.fromEntries(selects) });
document.addEventListener("filtered", (event) => { last = last.then(() => draw(event.detail)); });
last.then(() => { document.documentElement.dataset.drawn = "yes"; });
