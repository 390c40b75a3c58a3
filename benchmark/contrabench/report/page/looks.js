// How methods and numbers look in the plots; colours that depend on the theme are CSS.
const GREY = "#8a9396";
// Of ranking schemes; each stands out from the white and from the dark page (3:1 or more).
const HUES = ["#3f8f95", "#ce8039", "#6f7fc4", "#b05c86", "#7a9a3d", "#ac8f28"];
const STAR = "M0-1 .24-.32.95-.31.38.12.59.81 0 .4-.59.81-.38.12-.95-.31-.24-.32Z";
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", STAR];
const NARROW = 420;
const LINE = 14;
const PLACES = { dice: 3, asd: 2 };
const config = {
  background: "transparent", font: "system-ui, sans-serif", view: { stroke: null },
  axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", domain: false, ticks: false, labelPadding: 6 },
  legend: { labelFontSize: 12, symbolOpacity: 1, symbolStrokeWidth: 0, labelLimit: 0 },
};
function shows(section, method, wanted) {
  // The references stay: they are what every family is compared with.
  return !wanted.family || section.stays[method] || section.families[method] === wanted.family;
}
const metricName = (section, metric) => (metric === "dice" ? "Dice" : section.distance);
const text = (metric, value) => (value === null ? "–" : value.toFixed(PLACES[metric]));

const ruler = document.createElement("canvas").getContext("2d");
ruler.font = "12px system-ui, sans-serif";
const long = (words) => ruler.measureText(words).width;

// The end of a name often tells it apart, so the middle is what goes.
function cut(name, room) {
  const marks = [...name];
  for (let kept = marks.length; long(name) > room && kept > 2; kept -= 1) {
    const head = Math.ceil(kept / 2);
    name = `${marks.slice(0, head).join("")}…${marks.slice(marks.length - (kept - head)).join("")}`;
  }
  return name;
}

// Without the options that all variants of a method share: `a[x=1,y=2]` is `a[…,y=2]` beside `a[x=1,y=3]`.
// Nor with its deviations, where the method is there once.
function told(every) {
  const bare = every.map((name) => name.replace(/ \([^()]*\)$/, ""));
  const names = bare.map((name, place) => (bare.filter((other) => other === name).length > 1 ? every[place] : name));
  const parts = names.map((name) => /^([^[]+)\[([^\]]*)\](.*)$/.exec(name));
  return names.map((name, place) => {
    if (!parts[place]) return name;
    const [, stem, inside, rest] = parts[place];
    const others = parts.filter((each) => each?.[1] === stem).map((each) => each[2].split(","));
    const own = inside.split(",").filter((option) => others.length < 2 || !others.every((other) => other.includes(option)));
    return own.length && own.length < inside.split(",").length ? `${stem}[…,${own.join(",")}]${rest}` : name;
  });
}

function wrapped(name, room, most) {
  const lines = [""];
  for (const piece of name.split(/(?<=[_=,.\s])|(?=[([])/)) {
    const joined = lines.at(-1) + piece;
    if (lines.at(-1) === "" || long(joined) <= room) lines[lines.length - 1] = joined;
    else lines.push(piece);
  }
  return lines.length <= most ? lines.map((line) => cut(line.trim(), room)) : wrapped(cut(name, (most - 0.5) * room), room, most + 1);
}

// Names of rows in at most three lines, and the height that they need.
function rowLabels(section, methods, step, width) {
  const room = width < NARROW ? 110 : Math.min(240, width / 3);
  const short = told(section.names);
  const lines = section.names.map((name, m) => (long(name) <= room ? [name] : wrapped(short[m], room, 3)));
  const most = Math.max(1, ...methods.map((m) => lines[m].length));
  return {
    height: Math.max(step, LINE * most + 8) * Math.max(1, methods.length),
    params: [{ name: "labels", value: lines }],
    axis: {
      labelExpr: "labels[datum.value]", labelLimit: room + 10, labelLineHeight: LINE,
      labelOffset: { condition: { test: "length(labels[datum.value]) > 1", expr: `${-LINE / 2} * (length(labels[datum.value]) - 1)` }, value: 0 },
    },
  };
}

// Keeps what is written at heights at least `gap` apart, and inside; heights from above.
function spread(heights, gap, most) {
  const order = heights.map((_, place) => place).sort((one, two) => heights[one] - heights[two]);
  const found = [...heights];
  order.forEach((place, n) => { if (n) found[place] = Math.max(found[place], found[order[n - 1]] + gap); });
  order.reverse().forEach((place, n) => {
    found[place] = Math.min(found[place], n ? found[order[n - 1]] - gap : most);
  });
  return found;
}
