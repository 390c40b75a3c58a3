// The plots as Vega-Lite specifications; `width` is the room of one in pixels.
// Around each point an unseen one, so that pointing near it is enough.
const near = (size) => ({ type: "circle", size, opacity: 0, aria: false, cursor: "pointer" });

function cases(section, metric, wanted, width) {
  const which = section.means ? "" : wanted.structure;
  const values = section.points
    .filter(([method, , structure]) => structure === which && shows(section, method, wanted))
    .map(([method, number, , dice, asd]) => ({
      m: method, name: section.names[method], n: number, patient: section.cases[number][0],
      c: section.cases[number][1], v: metric === "dice" ? dice : asd, role: section.roles[method],
    }))
    .filter((point) => point.v !== null)
    .map((point) => ({ ...point, shown: text(metric, point.v) }));
  const title = metricName(section, metric) + (which ? `, ${which}` : "");
  const rows = rowLabels(section, [...new Set(values.map((point) => point.m))], 24, width);
  const x = { field: "v", type: "quantitative", title, scale: { zero: metric === "asd", nice: true }, axis: { grid: true, tickCount: 5 } };
  const y = { field: "m", type: "ordinal", title: null, axis: rows.axis };
  return {
    height: rows.height, data: { values }, params: rows.params,
    layer: [
      {
        transform: [{ filter: { param: "case", empty: false } }],
        mark: { type: "line", color: "#d0813a", strokeWidth: 1.5, opacity: 0.9 },
        encoding: { x, y, order: { field: "m" }, detail: { field: "n" } },
      },
      {
        mark: { type: "circle" },
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
        },
      },
      {
        params: [{ name: "case", select: { type: "point", fields: ["n"], on: "pointerover", clear: "pointerout" } }],
        mark: near(120),
        encoding: {
          x, y,
          tooltip: [
            { field: "patient", title: "Patient" }, { field: "c", title: "Case" },
            { field: "name", title: "Method" }, { field: "shown", title },
          ],
        },
      },
    ],
  };
}

const curves = (section, metric, wanted, width) => lines(
  section, section.curves, "Labelled", "Labelled patients, logarithmic", metric, wanted, width);
const along = (section, metric, wanted, width) => lines(
  section, section.along, "Percent", "Percent of fine-tuning, logarithmic", metric, wanted, width);

function lines(section, points, what, title, metric, wanted, width) {
  const found = points
    .filter(([method, , which]) => which === metric && shows(section, method, wanted))
    .map(([method, labelled, , mean, low, high]) => ({
      m: method, name: section.names[method], role: section.roles[method], x: labelled, v: mean, low, high,
      shown: text(metric, mean), from: text(metric, low), to: text(metric, high),
    }))
    .filter((point) => point.v !== null);
  const values = found.filter((point) => point.role !== "ceiling");
  const ceiling = found.filter((point) => point.role === "ceiling").slice(-1);
  const methods = [...new Set(values.map((point) => point.m))];
  const range = methods.map((m) => looks(section, m).hue);
  const shapes = methods.map((m) => looks(section, m).shape);
  const x = {
    field: "x", type: "quantitative", title, scale: { type: "log", nice: false, padding: 12 },
    axis: { values: [...new Set(values.map((point) => point.x))], format: "~g", grid: false },
  };
  // The lines decide on the scale: a single wide band would press them together.
  const means = found.map((point) => point.v);
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const room = high - low || 0.1;
  const lowest = Math.min(...values.map((point) => point.low ?? point.v), low - 0.05 * room);
  const highest = Math.max(...values.map((point) => point.high ?? point.v), high + 0.05 * room);
  const scale = {
    domain: [Math.max(0, lowest, low - 0.6 * room), Math.min(metric === "dice" ? 1 : Infinity, highest, high + 0.6 * room)],
    zero: false, nice: metric === "asd" || high < 0.95,
  };
  const legends = legendLabels(section, methods, width);
  const color = { field: "m", type: "nominal", scale: { domain: methods, range }, legend: legends.legend };
  const on = (yes, no) => ({ condition: { param: "pick", empty: false, value: yes }, value: no });
  const tooltip = [
    { field: "name", title: "Method" }, { field: "x", title: what },
    { field: "shown", title: metricName(section, metric) }, { field: "from", title: "95% low" }, { field: "to", title: "95% high" },
  ];
  const y = { field: "v", type: "quantitative", title: metricName(section, metric), scale, axis: { tickCount: 5 } };
  return {
    height: 250, data: { values }, params: legends.params, encoding: { x, color },
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
        mark: { type: "point", filled: true, size: 80, opacity: 1 },
        encoding: { y, shape: { field: "m", type: "nominal", scale: { domain: methods, range: shapes }, legend: color.legend } },
      },
      {
        params: [{ name: "pick", select: { type: "point", fields: ["m"], on: "pointerover", clear: "pointerout" } }],
        mark: near(200), encoding: { y, tooltip, color: null },
      },
      ...(ceiling.length ? [{
        data: { values: ceiling }, mark: { type: "rule", strokeDash: [2, 3], strokeWidth: 2, color: GREY },
        encoding: { x: null, color: null, y, tooltip: tooltip.filter((each) => each.field !== "x") },
      }] : []),
    ],
  };
}

function ranks(section, metric, wanted, width) {
  const values = section.ranks
    .filter(([method]) => shows(section, method, wanted))
    .map(([method, scheme, rank]) => ({ m: method, name: section.names[method], scheme, rank }));
  const spans = section.ranges
    .filter(([method]) => shows(section, method, wanted))
    .map(([method, low, high]) => ({ m: method, name: section.names[method], low, high }));
  const schemes = [...new Set(values.map((point) => point.scheme))];
  const order = spans.map((span) => span.m);
  const rows = rowLabels(section, order, 26, width);
  const x = { type: "quantitative", title: "Rank", scale: { domainMin: 0.5, nice: false }, axis: { tickMinStep: 1, format: "d", grid: true } };
  const y = { field: "m", type: "ordinal", sort: order, title: null, axis: rows.axis };
  return {
    height: rows.height, data: { values }, params: rows.params,
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
          color: { field: "scheme", type: "nominal", scale: { domain: schemes, range: HUES }, legend: { orient: "bottom", columns: width < NARROW ? 1 : 3, title: null, symbolStrokeWidth: 2 } },
          shape: { field: "scheme", type: "nominal", scale: { domain: schemes, range: SHAPES } },
          tooltip: [{ field: "name", title: "Method" }, { field: "scheme", title: "Scheme" }, { field: "rank", title: "Rank" }],
        },
      },
    ],
  };
}

function costs(section, metric, wanted, width) {
  const values = section.costs
    .filter(([method]) => shows(section, method, wanted))
    .map(([method, seconds, dice, asd]) => ({
      m: method, name: section.names[method], s: seconds, v: metric === "dice" ? dice : asd,
    }))
    .filter((point) => point.v !== null)
    .map((point) => ({ ...point, seconds: point.s.toFixed(1), shown: text(metric, point.v) }));
  const domain = values.map((point) => point.m);
  const { legend, params } = legendLabels(section, domain, width);
  const scaled = (part) => ({ field: "m", type: "nominal", scale: { domain, range: domain.map((m) => looks(section, m)[part]) }, legend });
  const title = metricName(section, metric);
  const tooltip = [{ field: "name", title: "Method" }, { field: "seconds", title: "Seconds" }, { field: "shown", title }];
  return {
    height: 260, data: { values }, params,
    encoding: {
      x: { field: "s", type: "quantitative", title: "Seconds of training of a run", scale: { zero: true }, axis: { grid: false, format: "~s", tickCount: 5 } },
      y: { field: "v", type: "quantitative", title, scale: { zero: false, padding: 16 }, axis: { tickCount: 5 } },
    },
    layer: [
      { mark: near(250), encoding: { tooltip } },
      {
        mark: { type: "point", filled: true, size: 110, opacity: 1, cursor: "pointer" },
        encoding: { color: scaled("hue"), shape: scaled("shape"), tooltip },
      },
    ],
  };
}
