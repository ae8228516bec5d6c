"use strict";
// Makes each heading of the ranking's tables a button that sorts the rows; rows without a value stay at the end.
const order = new Intl.Collator("en", { numeric: true });

function valueOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
}

function compare(one, other, isNumber) {
  return isNumber ? Number(one) - Number(other) : order.compare(one, other);
}

function sort(table, heads, column) {
  const head = heads[column];
  const first = head.dataset.first ?? "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = head.getAttribute("aria-sort") === first ? second : first;
  const sign = direction === "ascending" ? 1 : -1;
  const isNumber = head.classList.contains("number");
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => {
    const values = [valueOf(one, column), valueOf(other, column)];
    if (values.includes("")) {
      return (values[0] === "") - (values[1] === "");
    }
    return sign * compare(values[0], values[1], isNumber);
  });
  table.tBodies[0].append(...rows);
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, heads, column));
    head.append(button);
  });
}
