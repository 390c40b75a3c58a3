// Dark and light: the system's, unless the reader chose; a page opened as a file may not remember.
const THEME = "contrabench-theme";
const theme = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function remembered(...value) {
  try {
    return value.length ? localStorage.setItem(THEME, value[0]) : localStorage.getItem(THEME);
  } catch {
    return null;
  }
}
function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches;
}
function show() { theme.ariaPressed = String(isDark()); }
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remembered(root.dataset.theme);
  show();
});
prefersDark.addEventListener("change", show);
if (["dark", "light"].includes(remembered())) root.dataset.theme = remembered();
show();
