"use strict";

// The index: which runs are shown, and how many are ticked.
(() => {
  const form = document.getElementById("runs");
  if (form === null) return;
  const rows = [...form.querySelectorAll("tbody tr")];
  const filters = [...form.querySelectorAll("[data-filter]")];
  const button = form.querySelector(".compare");

  function isWanted(row) {
    return filters.every(({ dataset: { filter }, value }) => {
      if (filter !== "text") return value === "" || row.dataset[filter] === value;
      const text = row.dataset.text.toLowerCase();
      return value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
    });
  }

  function refresh() {
    for (const row of rows) row.hidden = !isWanted(row);
    const n = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").textContent = n === rows.length ? `${n} runs` : `${n} of ${rows.length} runs`;
    const ticked = form.querySelectorAll(":checked[name='run']").length;
    button.disabled = ticked < 2;
    button.textContent = ticked < 2 ? "Compare" : `Compare ${ticked}`;
    button.title = ticked < 2 ? "Tick two runs or more" : "";
  }

  form.addEventListener("input", refresh);
  window.addEventListener("pageshow", refresh);  // a page one comes back to has its ticks
  refresh();
})();
