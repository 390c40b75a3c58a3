// Draws the plots that can be seen, again when a filter or their room changes.
const AROUND = { left: 46, top: 26, bottom: 40 };
// An empty selection has no extent, of which Vega would warn.
const ERRORS = 1;
const makers = { cases, curves, along, ranks, costs };
const drawn = new Map();

const isEmpty = (spec) => ![spec, ...spec.layer ?? []].some((each) => each.data?.values.length);

let loaded;
async function library() {
  // The page's policy allows it: Vega makes functions of its expressions too.
  loaded ??= kept("library").then((code) => Function(`"use strict";${code}`)());
  await loaded;
  return window.vegaEmbed;
}

async function drawOne(plot, spec, width) {
  drawn.get(plot)?.finalize();
  drawn.delete(plot);
  // What stands below keeps its place meanwhile.
  plot.style.minHeight = `${plot.offsetHeight}px`;
  plot.replaceChildren();
  if (isEmpty(spec)) {
    plot.style.minHeight = "";
    return;
  }
  const { room, ...whole } = spec;
  const fitted = room === undefined
    ? { width: width - 2, autosize: { type: "fit-x", contains: "padding" } }
    : { width: Math.max(60, width - AROUND.left - room), autosize: "none", padding: { ...AROUND, right: room } };
  const embed = await library();
  drawn.set(plot, await embed(plot, { ...whole, ...fitted, config }, {
    mode: "vega-lite", logLevel: ERRORS, renderer: "svg", actions: false, tooltip: { disableDefaultStyle: true },
  }));
  plot.style.minHeight = "";
}

async function draw() {
  const wanted = chosen();
  for (const figure of all("figure[data-plot]")) {
    if (!figure.parentElement.checkVisibility()) continue;
    figure.hidden = false;
    const section = sections[figure.dataset.section];
    const nothing = figure.querySelector(".nothing");
    const boxes = all(".plots", figure);
    for (const box of boxes) box.hidden = false;
    const plots = all(".plot", figure);
    const families = plots.map((plot) => plot.dataset.family ?? "");
    const isAlone = families.includes(wanted.family);
    for (const [place, plot] of plots.entries()) plot.hidden = isAlone && families[place] !== wanted.family && Boolean(families[place]);
    const seen = plots.filter((plot) => !plot.hidden);
    const width = seen[0].clientWidth;
    const what = [wanted.family, figure.dataset.plot === "cases" ? wanted.structure : "", width].join("|");
    if (figure.dataset.drawn !== what) {
      figure.dataset.drawn = what;
      const specs = seen.map((plot) =>
        makers[figure.dataset.plot](section, plot.dataset.metric, wanted, plot.clientWidth, plot.dataset.family ?? ""));
      nothing.hidden = !specs.every(isEmpty);
      for (const [place, plot] of seen.entries()) {
        await drawOne(plot, specs[place], plot.clientWidth);
        // A phone is not to stand still until the last is drawn.
        await pause();
      }
    }
    for (const box of boxes) box.hidden = !nothing.hidden;
  }
  document.dispatchEvent(new Event("drawn"));
}

let last = whole;
let asked = 0;
function again() {
  asked += 1;
  delete root.dataset.drawn;
  last = last.then(draw).then(() => {
    asked -= 1;
    if (!asked) root.dataset.drawn = "yes";
  });
}
document.addEventListener("look", again);
again();
let waiting;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(again, 150);
});
