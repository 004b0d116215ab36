"use strict";

// Before the page is drawn, so that it does not flash in the other theme.

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const KEY = "mien.theme";

// A browser may forbid storage; the page then follows the system.
function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function showTheme(theme) {
  root.dataset.theme = theme ?? (system.matches ? "dark" : "light");
  dispatchEvent(new Event("themechange"));
}

function toggleTheme() {
  const theme = root.dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    /* it holds until the page is left */
  }
  showTheme(theme);
}

showTheme(stored());
system.addEventListener("change", () => showTheme(stored()));

document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  const tell = () => button.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
  button.addEventListener("click", toggleTheme);
  addEventListener("themechange", tell);
  tell();
});
