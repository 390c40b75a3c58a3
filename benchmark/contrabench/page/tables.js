// Sorting, filters and the theme. Without scripts the page is whole, but still.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement;
const announce = (text) => { document.getElementById("status").textContent = text; };

function key(row, place, isText) {
  const cell = row.cells[place];
  if (isText) return cell.textContent.trim() === "–" ? null : cell.textContent.trim();
  return "value" in cell.dataset ? Number(cell.dataset.value) : null;
}

function compare(one, two, sign) {
  // What is missing stays last, whichever way the rest is sorted.
  if (one === null || two === null) return (one === null) - (two === null);
  const way = typeof one === "number"
    ? one - two : one.localeCompare(two, "en", { numeric: true });
  return sign * way;
}

function sort(head) {
  const heads = [...head.parentElement.cells];
  const body = head.closest("table").tBodies[0];
  const place = heads.indexOf(head);
  const isText = head.dataset.kind === "text";
  const isLast = head.ariaSort === "descending";
  const sign = head.ariaSort === "ascending" ? -1 : 1;
  heads.forEach((other) => { other.ariaSort = "none"; });
  const rows = [...body.rows];
  if (isLast) {
    rows.sort((one, two) => one.dataset.row - two.dataset.row);
  } else {
    head.ariaSort = sign === 1 ? "ascending" : "descending";
    rows.sort((one, two) => compare(key(one, place, isText), key(two, place, isText), sign)
      || one.dataset.row - two.dataset.row);
  }
  body.append(...rows);
  const how = isLast ? "in its first order" : `sorted by ${head.dataset.column}, ${head.ariaSort}`;
  announce(`${head.closest("table").caption.textContent}: ${how}`);
}

for (const head of all("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  head.ariaSort = "none";
  button.addEventListener("click", () => sort(head));
}
for (const table of all("table")) {
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    if (head.dataset.kind !== "text" || place === 0) return;
    for (const row of table.tBodies[0].rows) row.cells[place].classList.add("text");
  });
}

function chosen() {
  const selects = all("[data-filter]").map((select) => [select.dataset.filter, select.value]);
  return { dataset: "", labels: "", structure: "", family: "", ...Object.fromEntries(selects) };
}

function filter() {
  const wanted = chosen();
  for (const part of all("main > section, nav li")) {
    part.hidden = ["dataset", "labels"].some((name) =>
      wanted[name] && name in part.dataset && part.dataset[name] !== wanted[name]);
  }
  for (const row of all("tbody tr[data-family]")) {
    // The references stay: they are what every family is compared with.
    row.hidden = Boolean(wanted.family) && Boolean(row.dataset.family) && !row.dataset.role
      && row.dataset.family !== wanted.family;
  }
  for (const table of all("table")) {
    const hides = [...table.tHead.rows[0].cells].map((head) =>
      Boolean(wanted.structure && head.dataset.structure && head.dataset.structure !== wanted.structure));
    for (const row of table.rows) [...row.cells].forEach((cell, place) => { cell.hidden = hides[place]; });
  }
  for (const part of all(".gallery [data-structure]")) {
    part.toggleAttribute("hidden", Boolean(wanted.structure) && part.dataset.structure !== wanted.structure);
  }
  for (const card of all(".card[data-family]")) {
    card.hidden = Boolean(wanted.family) && card.dataset.family !== wanted.family;
  }
  const shown = all("main > section").filter((part) => !part.hidden).length;
  announce(`${shown} sections shown`);
  document.dispatchEvent(new CustomEvent("filtered", { detail: wanted }));
}
all("[data-filter]").forEach((select) => select.addEventListener("change", filter));

const theme = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function show() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches;
  theme.ariaPressed = String(dark);
  return dark;
}
theme.addEventListener("click", () => { root.dataset.theme = show() ? "light" : "dark"; show(); });
prefersDark.addEventListener("change", show);
show();

// A link to the runs of a row opens their list, and print shows it.
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  target?.closest("details")?.setAttribute("open", "");
  if (target?.closest("details")) target.scrollIntoView({ block: "center" });
}
addEventListener("hashchange", open);
addEventListener("beforeprint", () => all("details").forEach((part) => { part.open = true; }));
open();
document.querySelector(".tools").hidden = false;
filter();
