"use strict";
const tip = document.getElementById("tip");

function show(mark) {
  const box = mark.getBoundingClientRect();
  tip.textContent = mark.dataset.tip;
  tip.hidden = false;
  const left = Math.min(box.left + box.width / 2 + 12, innerWidth - tip.offsetWidth - 8);
  const below = box.bottom + 10;
  const top = below + tip.offsetHeight < innerHeight ? below : box.top - tip.offsetHeight - 10;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = Math.max(8, top) + "px";
}

for (const mark of document.querySelectorAll("[data-tip]")) {
  const holder = mark.closest("a") || mark;
  mark.addEventListener("pointerenter", () => show(mark));
  holder.addEventListener("focus", () => show(mark));
  for (const end of ["pointerleave", "blur"]) (end === "blur" ? holder : mark).addEventListener(end, () => { tip.hidden = true; });
}
addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

// a link to something inside a closed part opens it
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const part = target && target.closest("details");
  if (part) { part.open = true; part.scrollIntoView({ block: "nearest" }); }
}
addEventListener("hashchange", openTarget);
openTarget();

function valueOf(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace(/,/g, ""));
  return Number.isNaN(number) ? text : number;
}

function sort(table, column, header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const missing = (value) => value === "-" || value === "";
  const rows = [...body.rows].sort((one, two) => {
    const a = valueOf(one, column), b = valueOf(two, column);
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return descending ? -order : order;
  });
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    button.title = "sort";
    header.append(button);
    button.addEventListener("click", () => sort(table, column, header));
  });
}

for (const command of document.querySelectorAll(".command")) {
  const text = command.querySelector("pre"), button = document.createElement("button");
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy: " + command.querySelector(".note").textContent);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch { // no clipboard here: what is selected can be copied by hand
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
  });
  command.append(button);
}
