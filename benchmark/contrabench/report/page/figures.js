// The plots as Vega-Lite specifications; `width` is the room of one in pixels, `room` what names need beside it.
// Around each point an unseen one, so that pointing near it is enough.
const near = (size) => ({ type: "circle", size, opacity: 0, aria: false, cursor: "pointer" });

function cases(section, metric, wanted, width) {
  const which = section.means ? "" : wanted.structure;
  const values = section.points
    .filter(([method, , structure]) => structure === which && shows(section, method, wanted))
    .map(([method, number, , dice, asd]) => ({
      m: method, name: section.names[method], n: number, patient: section.cases[number][0],
      c: section.cases[number][1], v: metric === "dice" ? dice : asd, hue: section.hues[method],
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
            ],
            field: "hue", type: "nominal", scale: null,
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
  const found = section.costs
    .filter(([method]) => shows(section, method, wanted))
    .map(([method, seconds, dice, asd]) => ({
      m: method, name: section.names[method], hue: section.hues[method], s: seconds, v: metric === "dice" ? dice : asd,
    }))
    .filter((point) => point.v !== null);
  const height = 300;
  const room = Math.min(150, width / 3);
  const [low, high] = [Math.min(...found.map((point) => point.v)), Math.max(...found.map((point) => point.v))];
  const span = high - low || 1;
  const ends = [low - 0.08 * span, high + 0.08 * span];
  const at = (v) => ((ends[1] - v) / (ends[1] - ends[0])) * height;
  const places = spread(found.map((point) => at(point.v)), 12, height);
  const values = found.map((point, place) => ({
    ...point, seconds: point.s.toFixed(1), shown: text(metric, point.v),
    label: cut(told(section.names)[point.m], room), at: ends[1] - (places[place] / height) * (ends[1] - ends[0]),
  }));
  const title = metricName(section, metric);
  const tooltip = [{ field: "name", title: "Method" }, { field: "seconds", title: "Seconds" }, { field: "shown", title }];
  const y = { field: "v", type: "quantitative", title, scale: { domain: ends, nice: false, zero: false }, axis: { tickCount: 5 } };
  return {
    height, data: { values }, room,
    encoding: { x: { field: "s", type: "quantitative", title: "Seconds of training of a run", scale: { zero: true, nice: false }, axis: { grid: false, format: "~s", tickCount: 5 } } },
    layer: [
      { mark: near(250), encoding: { y, tooltip } },
      {
        mark: { type: "circle", size: 80, opacity: 1, cursor: "pointer" },
        encoding: { y, color: { field: "hue", type: "nominal", scale: null }, tooltip },
      },
      { mark: { type: "text", align: "left", dx: 8, fontSize: 11 }, encoding: { y: { ...y, field: "at" }, text: { field: "label" } } },
    ],
  };
}
