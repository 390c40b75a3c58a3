// Filters, and the place of the reader.
const ALONE = "alone: the tables by structure, every case and the pictures. All else is over all structures.";

function chosen() {
  const selects = all("[data-filter]").map((select) => [select.dataset.filter, select.value]);
  return { structure: "", family: "", ...Object.fromEntries(selects) };
}

// What the reader looks at, and where it is, so that it can be put back there.
let held = null;
function hold() {
  const under = getComputedStyle(document.querySelector("header")).position === "sticky"
    ? document.querySelector("header").offsetHeight : 0;
  const parts = all("main h2, main summary, main .scroll, main .figure, main .card").filter((part) => part.checkVisibility());
  const first = parts.findIndex((part) => part.getBoundingClientRect().bottom > under);
  const isAbove = first < 0 || parts[first].getBoundingClientRect().top > innerHeight;
  held = isAbove ? null : { parts: parts.slice(first), top: parts[first].getBoundingClientRect().top };
}
function back() {
  const part = held?.parts.find((each) => each.checkVisibility());
  if (!part) return;
  // What stands in its stead begins where it can be seen.
  const top = part === held.parts[0] ? held.top : Math.max(held.top, 80);
  scrollBy({ top: part.getBoundingClientRect().top - top, behavior: "instant" });
  held.at = scrollY;
}

function filterTable(table, wanted) {
  const hides = [...table.tHead.rows[0].cells].map((head) =>
    Boolean(wanted.structure && head.dataset.structure && head.dataset.structure !== wanted.structure));
  for (const row of table.rows) [...row.cells].forEach((cell, place) => { cell.hidden = hides[place]; });
  for (const row of table.tBodies[0].rows) {
    // The references stay: they are what every family is compared with.
    row.hidden = Boolean(wanted.family && row.dataset.family) && !("stays" in row.dataset)
      && row.dataset.family !== wanted.family;
  }
  table.closest(".scroll").hidden = (hides.length > 1 && hides.slice(1).every(Boolean))
    || [...table.tBodies[0].rows].every((row) => row.hidden);
}

function filter() {
  const wanted = chosen();
  all("table[id]").forEach((table) => filterTable(table, wanted));
  for (const block of all(".block")) {
    const isEmpty = all(".scroll", block).length > 0 && all(".scroll", block).every((box) => box.hidden);
    for (const part of block.children) {
      if (part.matches(".nothing")) part.hidden = !isEmpty;
      else if (part.matches(".notes")) part.hidden = isEmpty;
    }
  }
  for (const line of all(".scope")) {
    line.hidden = !wanted.structure;
    line.textContent = `${wanted.structure} ${ALONE}`;
  }
  for (const part of all(".gallery [data-structure]")) {
    part.toggleAttribute("hidden", Boolean(wanted.structure) && part.dataset.structure !== wanted.structure);
  }
  for (const card of all(".card[data-family]")) {
    card.hidden = Boolean(wanted.family) && card.dataset.family !== wanted.family;
  }
  for (const row of all(".forest .row")) {
    row.classList.toggle("dim", Boolean(wanted.family) && row.dataset.family !== wanted.family);
  }
  all("details.cases").forEach((details) => fill(details, wanted));
  return wanted;
}
function changed() {
  hold();
  const wanted = filter();
  back();
  announce(`${wanted.family || "every family"}, ${wanted.structure || "all structures"}`);
  document.dispatchEvent(new Event("look"));
}
all("[data-filter]").forEach((select) => select.addEventListener("change", changed));
// Plots above are drawn later and change their heights; a browser or a reader who moved has settled it.
document.addEventListener("drawn", () => { if (held?.at === scrollY) back(); held = null; });
// Of an event that does not rise the way down is told.
document.addEventListener("toggle", ({ target }) => {
  if (target.matches("details.cases")) fill(target, chosen());
  if (target.open && !target.matches(".fold")) looked();
}, true);

document.querySelector(".tools").hidden = false;
filter();
