"use strict";

// A click on a column's name sorts by it: numbers the largest first, words from A; again, the other way.
(() => {
  const NUMBER = /^[-+]?\d/;

  const number = (text) => (NUMBER.test(text) ? parseFloat(text) : NaN);

  function sort(table, column, header) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
    const known = rows.filter(({ text }) => text !== "–" && text !== "");
    const isNumeric = known.length > 0 && known.every(({ text }) => NUMBER.test(text));
    const last = header.getAttribute("aria-sort");
    const first = isNumeric ? "descending" : "ascending";
    const other = isNumeric ? "ascending" : "descending";
    const order = last === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const compare = isNumeric
      ? (a, b) => sign * (number(a.text) - number(b.text))
      : (a, b) => sign * a.text.localeCompare(b.text, undefined, { numeric: true });
    // what is not known stays below, whichever way
    const unknown = rows.filter((one) => !known.includes(one));
    known.sort(compare);
    body.append(...[...known, ...unknown].map(({ row }) => row));
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
  }

  for (const table of document.querySelectorAll("table")) {
    if (!table.tHead || !table.tBodies.length) continue;
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sort(table, column, header));
    });
  }
})();
