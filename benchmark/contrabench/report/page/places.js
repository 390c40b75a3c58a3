// One label budget at a time; links lead to it and open what is folded.
function choose(id) {
  const group = document.getElementById(id).closest(".group");
  for (const part of all("[data-tab]")) part.classList.toggle("apart", part.dataset.tab !== id);
  for (const other of all(".group")) other.classList.toggle("apart", other !== group);
  for (const item of all("nav [data-group]")) item.hidden = item.dataset.group !== group.id;
  for (const link of all("nav .tab")) {
    if (link.hash === `#${id}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function looked() {
  enlivenSeen();
  document.dispatchEvent(new Event("look"));
}

// What is folded is made when it is opened, and where there is time before.
async function fold(inside) {
  const letters = inside.dataset.packed;
  if (!letters) return;
  delete inside.dataset.packed;
  inside.innerHTML = await unpacked(letters);
}
const pause = () => new Promise((resolve) => { setTimeout(resolve); });
async function unfold() {
  for (const inside of all("[data-packed]")) {
    await fold(inside);
    // A phone is not to stand still until the last is there.
    await pause();
  }
  filter();
}
let whole;

// Goes where the address says.
async function go() {
  const place = () => document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place()) await whole;
  const target = place();
  const group = target?.closest(".group");
  if (!group) return;
  const part = target.closest("[data-tab]") ?? (group.matches(".apart") ? group.querySelector("[data-tab]") : null);
  if (part) choose(part.dataset.tab);
  for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  await Promise.all(all(".inside", target).map(fold));
  looked();
  target.scrollIntoView({ block: target.closest(".sources") ? "center" : "start" });
}
addEventListener("hashchange", go);

for (const box of all("details.fold")) {
  // What is open is what the address leads to.
  box.querySelector("summary").addEventListener("click", () => {
    if (!box.open) history.replaceState(null, "", `#${box.id}`);
  });
  box.addEventListener("toggle", async () => {
    if (!box.open) return;
    await fold(box.querySelector(".inside"));
    filter();
    looked();
  });
}
for (const button of all(".opener")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const opens = button.textContent === "Open all";
    for (const box of all("details.fold", button.closest("section"))) box.open = opens;
    button.textContent = opens ? "Close all" : "Open all";
  });
}
const [first] = all("[data-tab]");
if (first) choose(first.dataset.tab);
whole = pause().then(unfold);
enlivenSeen();
go();
