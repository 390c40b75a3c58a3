// Draws the plots that can be seen, again when a filter or their room changes.
// An empty selection has no extent, of which Vega would warn.
const ERRORS = 1;
const makers = { cases, curves, along, ranks, costs };
const drawn = new Map();

const isEmpty = (spec) => ![spec, ...spec.layer ?? []].some((each) => each.data?.values.length);

async function draw(wanted) {
  for (const figure of document.querySelectorAll("figure[data-plot]")) {
    if (!figure.parentElement.checkVisibility()) continue;
    figure.hidden = false;
    const plots = [...figure.querySelectorAll(".plot")];
    const section = sections[figure.dataset.section];
    const nothing = figure.querySelector(".nothing");
    plots.forEach((plot) => { plot.parentElement.hidden = false; });
    const width = plots[0].clientWidth;
    const what = [wanted.family, figure.dataset.plot === "cases" ? wanted.structure : "", width].join("|");
    if (figure.dataset.drawn !== what) {
      figure.dataset.drawn = what;
      const specs = plots.map((plot) => makers[figure.dataset.plot](section, plot.dataset.metric, wanted, width));
      nothing.hidden = !specs.every(isEmpty);
      for (const [place, plot] of plots.entries()) {
        drawn.get(plot)?.finalize();
        drawn.delete(plot);
        plot.replaceChildren();
        if (isEmpty(specs[place])) continue;
        const whole = { ...specs[place], width: "container", autosize: { type: "fit-x", contains: "padding" }, config };
        drawn.set(plot, await window.vegaEmbed(plot, whole, {
          mode: "vega-lite", logLevel: ERRORS, renderer: "svg", actions: false, tooltip: { disableDefaultStyle: true },
        }));
      }
    }
    plots[0].parentElement.hidden = !nothing.hidden;
  }
  document.dispatchEvent(new Event("drawn"));
}

const selects = () => [...document.querySelectorAll("[data-filter]")].map((select) => [select.dataset.filter, select.value]);
const now = () => draw({ structure: "", family: "", ...Object.fromEntries(selects()) });
let last = now();
document.addEventListener("filtered", () => { last = last.then(now); });
last.then(() => { document.documentElement.dataset.drawn = "yes"; });
let waiting;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { last = last.then(now); }, 150);
});
