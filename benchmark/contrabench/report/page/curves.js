// Lines of one family in its colour, all others grey; scratch and full supervision as bands.
const curves = (section, metric, wanted, width, family) => lines(
  section, section.curves, "Labelled", "Labelled patients", metric, wanted, width, family);
const along = (section, metric, wanted, width, family) => lines(
  section, section.along, "Percent", "Percent of fine-tuning", metric, wanted, width, family);

function lines(section, points, what, title, metric, wanted, width, family) {
  const height = 190;
  const found = points
    .filter(([, , which, mean]) => which === metric && mean !== null)
    .map(([method, x, , mean, low, high]) => ({
      m: method, name: section.names[method], role: section.roles[method], hue: section.hues[method], x, v: mean, low, high,
      isOwn: !section.roles[method] && (!family || section.families[method] === family),
      shown: text(metric, mean), from: text(metric, low), to: text(metric, high),
    }));
  // Scratch goes as far as the methods do; with every label it is the ceiling.
  const reach = Math.max(...found.filter((point) => !point.role).map((point) => point.x));
  const floor = found.filter((point) => point.role === "floor" && point.x <= (reach > 0 ? reach : Infinity));
  const ceiling = found.filter((point) => point.role === "ceiling").slice(-1);
  const own = found.filter((point) => point.isOwn);
  const others = found.filter((point) => !point.isOwn && !point.role);
  // The lines decide on the scale: a single wide band would press them together.
  const means = [...floor, ...ceiling, ...own, ...others].map((point) => point.v);
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const span = high - low || 0.1;
  const ends = [Math.max(0, low - 0.08 * span), Math.min(metric === "dice" ? 1 : Infinity, high + 0.08 * span)];
  const at = (v) => ((ends[1] - v) / (ends[1] - ends[0])) * height;

  const xs = [...new Set([...floor, ...own, ...others].map((point) => point.x))];
  // Names stand at the ends of their lines.
  const last = [...new Map([...ceiling, ...floor, ...own].map((point) => [point.m, point])).values()];
  const names = told(section.names);
  const longest = Math.max(0, ...last.map((point) => long(names[point.m])));
  const room = Math.min(longest + 14, 0.4 * width);
  const places = spread(last.map((point) => at(point.v)), 12, height);
  const labels = last.map((point, place) => ({
    x: point.role === "ceiling" ? Math.max(...xs) : point.x, v: ends[1] - (places[place] / height) * (ends[1] - ends[0]), label: cut(names[point.m], room - 12), role: point.role,
  }));

  const x = {
    field: "x", type: "quantitative", title, scale: { type: "log", nice: false, domain: [Math.min(...xs), Math.max(...xs)], padding: 8 },
    axis: { values: xs, format: "~g", grid: false },
  };
  const y = { field: "v", type: "quantitative", title: null, scale: { domain: ends, nice: false, zero: false }, axis: { tickCount: 5 } };
  const hue = { field: "hue", type: "nominal", scale: null };
  const detail = { field: "m", type: "nominal" };
  const picked = (yes, no) => ({ condition: { param: "pick", empty: false, value: yes }, value: no });
  const numbers = [
    { field: "shown", title: metricName(section, metric) }, { field: "from", title: "95% low" }, { field: "to", title: "95% high" },
  ];
  const all = [...others, ...own, ...floor];
  const band = (data, more) => ({ data: { values: data }, mark: { color: GREY, opacity: 0.12, clip: true, ...more.mark }, encoding: more.encoding });
  return {
    height, room, data: { values: all },
    title: { text: [family ? family[0].toUpperCase() + family.slice(1) : "", metricName(section, metric)].filter(Boolean).join(": "), anchor: "start", fontSize: 12.5, offset: 8 },
    layer: [
      ...(floor.length ? [
        band(floor, { mark: { type: "area" }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" } } }),
        { data: { values: floor }, mark: { type: "line", color: GREY, strokeDash: [5, 4], strokeWidth: 1.5 }, encoding: { x, y } },
      ] : []),
      ...(ceiling.length ? [
        band(ceiling, { mark: { type: "rect" }, encoding: { x: { value: 0 }, x2: { value: "width" }, y: { ...y, field: "low" }, y2: { field: "high" } } }),
        { data: { values: ceiling }, mark: { type: "rule", color: GREY, strokeDash: [2, 3], strokeWidth: 1.5 }, encoding: { y } },
      ] : []),
      { data: { values: others }, mark: { type: "line", strokeWidth: 1, color: GREY }, encoding: { x, y, detail, opacity: picked(1, 0.45), size: picked(2.5, 1) } },
      { data: { values: own }, mark: { type: "area", clip: true }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color: hue, detail, opacity: picked(0.2, 0) } },
      { data: { values: own }, mark: { type: "line" }, encoding: { x, y, color: hue, detail, size: picked(3.5, 2) } },
      { data: { values: own }, mark: { type: "circle", size: 34, opacity: 1 }, encoding: { x, y, color: hue } },
      {
        params: [{ name: "pick", select: { type: "point", fields: ["m"], on: "pointerover", clear: "pointerout" } }],
        mark: near(180), encoding: { x, y, detail, tooltip: [{ field: "name", title: "Method" }, { field: "x", title: what }, ...numbers] },
      },
      { data: { values: labels }, mark: { type: "text", align: "left", dx: 8, fontSize: 11 }, encoding: { x, y, text: { field: "label" } } },
    ],
  };
}
