// Tables sort by a click on their heads and the layer table filters; without this script everything is there to read.
"use strict";
(() => {
  const said = document.getElementById("said");
  const say = (text) => { said.textContent = text; };

  // What a cell is worth in a column of numbers: "1,234", "5×40" (its elements), "1.2 M"; what is no number is NaN.
  const prefixes = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
  const number = (text) => text.replace(/,/g, "").split("×").reduce((product, factor) => {
    const prefix = /\d ([kMGT])B?$/.exec(factor);
    return product * parseFloat(factor) * (prefix ? prefixes[prefix[1]] : 1);
  }, 1);
  const words = new Intl.Collator("en", { numeric: true });
  const compare = (a, b, numeric) => {
    if (!numeric) return words.compare(a, b);
    const [x, y] = [number(a), number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? 0 : x - y;
  };

  const sortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.querySelectorAll("thead th[data-column]")];
    const sort = (head, direction) => {
      const column = Number(head.dataset.column);
      const numeric = head.classList.contains("n");
      const text = (row) => row.cells[column].textContent.trim();
      const missing = (row) => numeric && Number.isNaN(number(text(row)));
      const sign = direction === "descending" ? -1 : 1;
      const order = (a, b) => missing(a) - missing(b) || sign * compare(text(a), text(b), numeric);
      body.append(...(direction === "none" ? original : [...original].sort(order)));
      for (const other of heads) other.setAttribute("aria-sort", other === head ? direction : "none");
      const name = head.dataset.label || head.textContent.trim();
      say(direction === "none" ? "In the original order" : `Sorted by ${name}, ${direction}`);
    };
    const after = { none: "ascending", ascending: "descending", descending: "none" };
    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      if (head.dataset.label) button.setAttribute("aria-label", head.dataset.label);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(head, after[head.getAttribute("aria-sort")]));
    }
  };

  const filterable = (form) => {
    const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
    const count = form.querySelector("output");
    const filter = () => {
      const wanted = form.elements.namedItem("words").value.toLowerCase().split(/\s+/).filter(Boolean);
      const fates = new Set([...form.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value));
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !(fates.has(row.dataset.fate) && wanted.every((word) => text.includes(word)));
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = `${shown} of ${rows.length} shown`;
    };
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    filter();
  };

  // A link into a closed detail opens it.
  const reveal = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.closest("details")) target.closest("details").open = true;
  };

  const openAll = (button) => {
    const all = [...document.querySelectorAll(button.dataset.all)];
    const label = () => { button.textContent = all.some((one) => !one.open) ? "Open all" : "Close all"; };
    button.hidden = false;
    button.addEventListener("click", () => {
      const open = all.some((one) => !one.open);
      for (const one of all) one.open = open;
      label();
    });
    for (const one of all) one.addEventListener("toggle", label);
    label();
  };

  document.querySelectorAll("table.sorts").forEach(sortable);
  document.querySelectorAll("form[data-table]").forEach(filterable);
  document.querySelectorAll("button[data-all]").forEach(openAll);
  window.addEventListener("hashchange", reveal);
  reveal();
})();
