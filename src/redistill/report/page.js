// Sorting only; everything can be read without it. A column is sorted by the first number of its entries where all have one; an entry
// with another unit than its neighbours (1 min 35 s) says itself what it is sorted by.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.append(...head.childNodes);
    button.type = "button";
    head.append(button);
    button.onclick = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(one => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = row => (row.cells[column].dataset.sort ?? row.cells[column].textContent.trim()).replace(/(\d),(?=\d{3}(?!\d))/g, "$1");
      const rows = [...body.rows], filled = rows.map(text).filter(Boolean);
      const numeric = filled.length > 0 && filled.every(one => /^[+\-−]?\d/.test(one));
      const value = row => numeric ? parseFloat(text(row).replace("−", "-")) : text(row).toLowerCase();
      const empty = row => text(row) === "";
      rows.sort((a, b) => empty(a) - empty(b) || (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (up ? 1 : -1));
      body.append(...rows);
    };
  });
}
