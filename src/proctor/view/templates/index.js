"use strict";

// The index: which runs are shown, and which are ticked. Runs are compared with the one that was ticked first.
(() => {
  const form = document.getElementById("runs");
  if (form === null) return;
  const rows = [...form.querySelectorAll("tbody tr")];
  const filters = [...form.querySelectorAll("[data-filter]")];
  const button = form.querySelector(".compare");
  const ticked = new Set();

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
    for (const box of form.querySelectorAll("[name='run']")) {
      if (box.checked) ticked.add(box);
      else ticked.delete(box);
    }
    button.disabled = ticked.size < 2;
    button.textContent = ticked.size < 2 ? "Compare" : `Compare ${ticked.size}`;
    button.title = ticked.size < 2 ? "Tick two runs or more" : "with the one ticked first";
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.assign(`/compare?${new URLSearchParams([...ticked].map((box) => ["run", box.value]))}`);
  });
  form.addEventListener("input", refresh);
  window.addEventListener("pageshow", refresh);  // a page one comes back to has its ticks
  refresh();
})();
