// The table of every case is made when it is opened: as part of the file it would outweigh all else.
const DIGITS = { dice: 3, asd: 2 };
const made = (tag, attributes = {}, ...inside) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
};

// A name that may be broken where its parts begin.
const breakable = (name) => name.split(/(?<=[_=,.])|(?=[([])/).flatMap((part, place) => (place ? [made("wbr"), part] : [part]));

function caseTable(section, metric, wanted, own) {
  const which = section.means ? "" : wanted.structure;
  const methods = section.names.map((_, m) => m)
    .filter((m) => !wanted.family || section.stays[m] || section.families[m] === wanted.family);
  const cells = new Map();
  for (const [method, number, structure, dice, asd] of section.points) {
    if (structure !== which) continue;
    if (!cells.has(number)) cells.set(number, new Map());
    cells.get(number).set(method, metric === "dice" ? dice : asd);
  }
  const title = `${metric === "dice" ? "Dice" : section.distance} of every case, ${which || "mean over structures"}`;
  const head = (text, kind, more = {}) => made("th", { scope: "col", "data-kind": kind, "data-column": text, ...more }, ...breakable(text));
  const kind = metric === "dice" ? "score" : "distance";
  const heads = made("tr", {}, head("Case", "text", { class: "name" }), ...methods.map((m) => head(section.names[m], kind)));
  const rows = [...cells].map(([number, values], place) => {
    const [patient, name] = section.cases[number];
    const about = made("th", { scope: "row", class: "name" }, ...breakable(patient));
    if (name !== patient) about.append(" ", made("small", {}, name));
    return made("tr", { "data-row": place }, about, ...methods.map((m) => {
      const value = values.get(m) ?? null;
      return value === null ? made("td", {}, "–") : made("td", {}, value.toFixed(DIGITS[metric]));
    }));
  });
  const caption = made("caption", { id: `${own}-${metric}` }, made("span", {}, title));
  return made("div", { class: "scroll", role: "group", "aria-labelledby": caption.id },
    made("table", {}, caption, made("thead", {}, heads), made("tbody", {}, ...rows)));
}

function fill(details, wanted) {
  if (!details.open || !sections) return;
  const section = sections[details.dataset.section];
  const tables = ["dice", "asd"].map((metric) => caseTable(section, metric, wanted, `${details.dataset.section}-cases`));
  const block = details.querySelector(".block");
  block.replaceChildren(...tables.filter((box) => box.querySelector("tbody tr")));
  if (!block.firstChild) block.append(made("p", { class: "notes" }, "Nothing here for this choice."));
  all("table", block).forEach(enliven);
}

sections = JSON.parse(await kept("points"));
all("details.cases").forEach((details) => fill(details, chosen()));
