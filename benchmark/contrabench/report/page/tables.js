// Sorting.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement;
const announce = (text) => { document.getElementById("status").textContent = text; };
const NUMBER = /^(fewer than |more than |over )?([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/;
const SIDES = { "fewer than ": -1, "more than ": 1, "over ": 1 };
// Of these the best is the largest, and the first click shows it first.
const BEST_FIRST = ["score", "difference", "share"];

// What a cell sorts by: its number, and on which side of it the truth lies; or a text.
function key(row, place) {
  const text = row.cells[place].textContent.trim();
  const found = NUMBER.exec(text);
  if (found) return { number: Number(found[2]), side: SIDES[found[1]] ?? 0 };
  return text === "–" ? null : { text };
}

function compare(one, two, sign) {
  // What is missing stays last, whichever way the rest is sorted.
  if (one === null || two === null) return (one === null) - (two === null);
  const isText = ("text" in one) - ("text" in two);
  const way = isText || ("text" in one
    ? one.text.localeCompare(two.text, "en", { numeric: true })
    : one.number - two.number || one.side - two.side);
  return sign * way;
}

function sort(head) {
  const heads = [...head.parentElement.cells];
  const body = head.closest("table").tBodies[0];
  const place = heads.indexOf(head);
  const ways = BEST_FIRST.includes(head.dataset.kind) ? ["descending", "ascending"] : ["ascending", "descending"];
  const way = ways[ways.indexOf(head.ariaSort) + 1];
  heads.forEach((other) => { other.ariaSort = "none"; });
  const rows = [...body.rows];
  if (way) {
    const keys = new Map(rows.map((row) => [row, key(row, place)]));
    head.ariaSort = way;
    rows.sort((one, two) => compare(keys.get(one), keys.get(two), way === "ascending" ? 1 : -1)
      || one.dataset.row - two.dataset.row);
  } else {
    rows.sort((one, two) => one.dataset.row - two.dataset.row);
  }
  body.append(...rows);
  const how = way ? `sorted by ${head.dataset.column}, ${way}` : "in its first order";
  announce(`${head.closest("table").caption.textContent}: ${how}`);
}

// A box that scrolls is reached by keyboard; one that does not is no stop on the way.
const boxes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const box = target.closest(".scroll");
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
});

const MOST_NAMED = 6;
// The runs behind a row, in the little window over it.
function name(row) {
  const link = row.cells[0].querySelector("a[href^='#']");
  const runs = link && document.getElementById(link.hash.slice(1))?.querySelector("code").textContent.split(" ");
  if (runs) row.title = runs.length > MOST_NAMED ? `${runs.length} runs` : `runs ${runs.join(", ")}`;
}

function enliven(table) {
  if (table.dataset.alive) return;
  table.dataset.alive = "yes";
  [...table.tBodies[0].rows].forEach(name);
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.ariaSort = "none";
    button.addEventListener("click", () => sort(head));
  }
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    if (head.dataset.kind !== "text" || place === 0) return;
    for (const row of table.tBodies[0].rows) row.cells[place].classList.add("text");
  });
  boxes.observe(table);
  boxes.observe(table.closest(".scroll"));
}
// Those that cannot be seen have time until they can.
const enlivenSeen = () => all("table").filter((table) => table.checkVisibility()).forEach(enliven);
