"use strict";

// Without this script the page says the same; it sorts tables and shows a shape's numbers at once.

const number = /^[+-]?\d+(\.\d+)?/;

function valueOf(cell) {
  const text = cell.textContent.trim().replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1");
  const found = text.match(number);
  return text === "\u2013" || text === "" ? null : found ? Number(found[0]) : text;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sortBy(table, index, descending) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => [valueOf(row.cells[index]), row]);
  const known = rows.filter(([value]) => value !== null).sort(([a], [b]) => compare(a, b));
  if (descending) known.reverse();
  const unknown = rows.filter(([value]) => value === null);
  body.append(...[...known, ...unknown].map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = typeof valueOf(table.tBodies[0].rows[0].cells[index]) === "number";
      const before = head.getAttribute("aria-sort");
      // The first click puts the largest number, or the first word, on top.
      const descending = before === null ? numeric : before === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, index, descending);
    });
  });
}

const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);

for (const title of document.querySelectorAll("svg .tip > title")) {
  // The browser's own tooltip would come a second later beside this one.
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}

function show(event) {
  const shape = event.target.closest?.("svg .tip");
  tip.hidden = !shape;
  if (!shape) return;
  tip.textContent = shape.dataset.tip;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 12, document.documentElement.clientWidth - box.width - 4);
  const above = event.clientY - box.height - 12;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${above < 4 ? event.clientY + 16 : above}px`;
}

document.addEventListener("pointermove", show);
document.addEventListener("pointerdown", show);
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });
