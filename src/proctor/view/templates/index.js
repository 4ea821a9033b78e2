"use strict";

// The index: which runs are shown, and which are ticked. Runs are compared with the one that was ticked first.
(() => {
  const LOOK_MS = 5000;
  const form = document.getElementById("runs");
  const filters = [...form.querySelectorAll("[data-filter]")];
  const button = form.querySelector(".compare");
  let ticked = [];

  function isWanted(row) {
    return filters.every(({ dataset: { filter }, value }) => {
      if (filter !== "text") return value === "" || row.dataset[filter] === value;
      const text = row.dataset.text.toLowerCase();
      return value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
    });
  }

  function refresh() {
    const rows = [...form.querySelectorAll("tbody tr[data-text]")];
    for (const row of rows) row.hidden = !isWanted(row);
    const n = rows.filter((row) => !row.hidden).length;
    const runs = n === rows.length ? `${n}` : `${n} of ${rows.length}`;
    form.querySelector("output").textContent = rows.length === 1 ? `${runs} run` : `${runs} runs`;
    const boxes = [...form.querySelectorAll("[name='run']:checked")].map((box) => box.value);
    ticked = [...ticked.filter((id) => boxes.includes(id)), ...boxes.filter((id) => !ticked.includes(id))];
    button.disabled = ticked.length < 2;
    button.textContent = ticked.length < 2 ? "Compare" : `Compare ${ticked.length}`;
    button.title = ticked.length < 2 ? "Tick two runs or more" : "with the one ticked first";
  }

  // What has changed since: rows are exchanged, ticks and filters stay.
  async function look() {
    const began = performance.now();
    if (!document.hidden) {
      const answer = await fetch("/", { cache: "no-store" }).catch(() => null);
      if (answer?.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    }
    setTimeout(look, Math.max(LOOK_MS, 20 * (performance.now() - began)));  // many runs take their time
  }

  function show(newer) {
    const [before, after] = [form.querySelector("tbody"), newer.querySelector("#runs tbody")];
    for (const box of after.querySelectorAll("[name='run']")) box.toggleAttribute("checked", ticked.includes(box.value));
    for (const box of before.querySelectorAll("[name='run']")) box.toggleAttribute("checked", box.checked);
    for (const row of before.querySelectorAll("tr")) row.hidden = false;
    if (before.innerHTML !== after.innerHTML) before.replaceWith(document.adoptNode(after));
    for (const filter of filters) showChoices(filter, newer.querySelector(`[data-filter='${filter.dataset.filter}']`));
    refresh();
  }

  function showChoices(filter, newer) {
    if (filter.dataset.filter === "text" || filter.innerHTML === newer.innerHTML) return;
    const value = filter.value;
    filter.replaceChildren(...newer.children);
    filter.value = value;
    filter.parentElement.hidden = newer.parentElement.hidden;
  }

  form.addEventListener("input", refresh);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.assign(`/compare?${new URLSearchParams(ticked.map((id) => ["run", id]))}`);
  });
  window.addEventListener("pageshow", refresh);  // a page one comes back to has its ticks
  refresh();
  setTimeout(look, LOOK_MS);
})();
