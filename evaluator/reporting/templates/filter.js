// A field with the id "filter" hides the rows of all boards that do not have each of its words in them.
"use strict";
const field = document.getElementById("filter");
if (field) {
  const rows = [...document.querySelectorAll("table.board tbody tr")].map((row) => [row, row.textContent.toLowerCase()]);
  const apply = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach(([row, text]) => {
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    });
    document.querySelectorAll("section.group").forEach((group) => {
      group.hidden = !group.querySelector("tbody tr:not([hidden])");
    });
    document.getElementById("shown").textContent = words.length ? `${shown} of ${rows.length} runs` : "";
  };
  field.addEventListener("input", apply);
  apply(); // what a browser kept in the field when the page was loaded again
}
