"use strict";

// The index: which runs are shown, in which order, and which are ticked. Runs are compared with the one ticked first.
// Filters and order are kept in the address, so that it can be sent and reloaded.
(() => {
  const LOOK_MS = 5000;
  const SOON_MS = 100;
  const form = document.getElementById("runs");
  const filters = [...form.querySelectorAll("[data-filter]")];
  const order = form.querySelector("[data-order]");
  const bar = form.querySelector(".chosen-runs");
  const compare = form.querySelector(".compare");
  const most = Number(form.dataset.most);
  const FALLING = new Set(["success", "begun", "took", "episodes", "step"]);  // the direction of the first press
  const open = new Set();
  let sort = { column: "begun", falling: true };
  let ticked = [];
  let received = "";

  // ------------------------------------------------------------------------------------------------------ the address

  function readAddress() {
    const given = new URLSearchParams(location.search);
    for (const filter of filters) {
      filter.value = given.get(filter.dataset.filter) ?? "";
      if (filter.selectedIndex === -1) filter.value = "";
    }
    const column = given.get("sort");
    if (column !== null) sort = { column, falling: given.get("order") !== "rising" };
    for (const id of given.getAll("open")) open.add(id);
  }

  function writeAddress() {
    const kept = new URLSearchParams();
    for (const { dataset, value } of filters) if (value) kept.set(dataset.filter, value);
    if (sort.column !== "begun" || !sort.falling) {
      kept.set("sort", sort.column);
      kept.set("order", sort.falling ? "falling" : "rising");
    }
    for (const id of open) kept.append("open", id);
    history.replaceState(null, "", kept.size ? `?${kept}` : location.pathname);
  }

  // --------------------------------------------------------------------------------------------------------- filters

  function fits(row) {
    return filters.every(({ dataset: { filter }, value }) => {
      if (filter !== "q") return value === "" || row.dataset[filter] === value;
      return matchesText(row, value);
    });
  }

  function matchesText(row, value) {
    const text = row.dataset.text.toLowerCase();
    return value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  }

  function fitsAsMember(row, head) {
    const words = filters.find(({ dataset }) => dataset.filter === "q").value;
    if (words === "" || !matchesText(head, words)) return fits(row);
    return filters.every(({ dataset: { filter }, value }) => filter === "q" || value === "" || row.dataset[filter] === value);
  }

  function showRows() {
    let [n_shown, n] = [0, 0];
    const filtered = filters.some(({ value }) => value !== "");
    for (const body of form.querySelectorAll("tbody")) {
      const head = body.querySelector(".head");
      const runs = [...body.rows].filter((row) => row !== head);
      const wanted = runs.filter((row) => (head ? fitsAsMember(row, head) : fits(row)));
      const unfolded = head !== null && open.has(body.dataset.id);
      const byRun = filtered && wanted.length < runs.length;  // some are left out: show which are meant
      for (const row of runs) row.hidden = !wanted.includes(row) || (head !== null && !unfolded && !byRun);
      if (head) {
        head.hidden = filtered && wanted.length === 0 && !(runs.length === 0 && fits(head));
        head.querySelector(".fold").setAttribute("aria-expanded", String(unfolded || byRun));
      }
      n += runs.length;
      n_shown += wanted.length;
    }
    const runs = n_shown === n ? `${n}` : `${n_shown} of ${n}`;
    form.querySelector("output").textContent = n === 1 ? `${runs} run` : `${runs} runs`;
    const nothing = form.querySelector(".no-match");
    if (nothing) nothing.hidden = n === 0 || n_shown > 0;
  }

  // ----------------------------------------------------------------------------------------------------------- order

  function addHeadings() {
    for (const heading of form.querySelectorAll("th[data-column]")) {
      if (heading.querySelector("button")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
    }
    const headings = [...form.querySelectorAll("th[data-column]")];
    order.replaceChildren(...headings.map(({ dataset, textContent }) => new Option(textContent.split(",")[0], dataset.column)));
  }

  function place(column) {
    const heading = form.querySelector(`th[data-column="${CSS.escape(column)}"]`);
    return heading ? heading.cellIndex : -1;
  }

  function valueOf(row, column) {
    const label = column === "name" ? ".name" : `[data-label="${column}"]`;
    return row.querySelector(label)?.dataset.sort ?? "";
  }

  function sorted(rows, of) {
    const { column, falling } = sort;
    const known = rows.map((row) => [row, valueOf(of(row), column)]);
    const numbers = known.every(([, value]) => value === "" || !Number.isNaN(Number(value)));
    const compareValues = numbers ? (a, b) => Number(a) - Number(b) : (a, b) => a.localeCompare(b, "en", { numeric: true });
    known.sort(([, a], [, b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");  // what is not known comes last
      return falling ? compareValues(b, a) : compareValues(a, b);
    });
    return known.map(([row]) => row);
  }

  // The runs of a sweep stay in the order of their steps if sweeps and runs are in the order of time.
  function showOrder() {
    const table = form.querySelector("table");
    if (table === null) return;
    if (place(sort.column) < 0) sort = { column: "begun", falling: true };
    for (const heading of table.querySelectorAll("th[data-column]")) {
      if (heading.dataset.column === sort.column) heading.setAttribute("aria-sort", sort.falling ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
    order.value = sort.column;
    for (const body of table.querySelectorAll("tbody.sweep")) {
      if (sort.column !== "begun") body.append(...sorted([...body.rows].filter((row) => !row.matches(".head")), (row) => row));
    }
    table.append(...sorted([...table.tBodies], (body) => body.rows[0]));
  }

  function sortBy(column) {
    const falling = sort.column === column ? !sort.falling : FALLING.has(column);
    sort = { column, falling };
    showOrder();
    writeAddress();
  }

  // ----------------------------------------------------------------------------------------------------------- ticks

  function showTicks() {
    const boxes = [...form.querySelectorAll("[name='run']:checked")];
    const ids = boxes.map((box) => box.value);
    ticked = [...ticked.filter((id) => ids.includes(id)), ...ids.filter((id) => !ticked.includes(id))];
    bar.hidden = ticked.length === 0;
    compare.disabled = ticked.length < 2 || ticked.length > most;
    compare.textContent = ticked.length < 2 ? "Compare" : `Compare ${ticked.length}`;
    compare.title = ticked.length < 2 ? "Tick two runs or more" : ticked.length > most ? `At most ${most} at once` : "with the one ticked first";
    const rows = ticked.map((id) => boxes.find((box) => box.value === id).closest("tr"));
    bar.querySelector("[data-what='paths']").dataset.copy = rows.map((row) => row.dataset.path).join("\n");
    const idle = rows.filter((row) => row.dataset.state !== "running");
    const command = idle.length ? `rm -r -- ${idle.map((row) => quoted(row.dataset.path)).join(" ")}` : "none: they are running";
    bar.querySelector("code").textContent = command;
    bar.querySelector(".command .copy").dataset.copy = command;
  }

  function quoted(path) {
    return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'"'"'`)}'`;
  }

  // ------------------------------------------------------------------------------------------------------ what is new

  function refresh() {
    for (const time of form.querySelectorAll("time:not([title])")) {
      const date = new Date(time.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      time.title = time.textContent;
      const [day, hour] = [[date.getFullYear(), date.getMonth() + 1, date.getDate()], [date.getHours(), date.getMinutes()]];
      const two = (number) => String(number).padStart(2, "0");
      time.textContent = `${day.map(two).join("-")} ${hour.map(two).join(":")}`;
    }
    addHeadings();
    showOrder();
    showRows();
    showTicks();
  }

  async function look() {
    const began = performance.now();
    if (!document.hidden) {
      const answer = await fetch("/", { cache: "no-store" }).catch(() => null);
      if (answer?.ok) show(await answer.text());
    }
    const rest = Math.max(LOOK_MS, 20 * (performance.now() - began));  // many runs take their time
    setTimeout(look, isComplete() ? rest : SOON_MS);
  }

  function isComplete() {
    return form.querySelector("[data-state='unread']") === null;
  }

  function show(text) {
    if (text === received) return;
    received = text;
    const newer = new DOMParser().parseFromString(text, "text/html");
    const [before, after] = ["table.index, .empty", "table.index, .empty"].map((what, n) => (n ? newer : form).querySelector(what));
    for (const box of after.querySelectorAll("[name='run']")) box.toggleAttribute("checked", ticked.includes(box.value));
    const focused = document.activeElement?.value;
    before.replaceWith(document.adoptNode(after));
    if (focused) form.querySelector(`[name='run'][value="${CSS.escape(focused)}"]`)?.focus();
    for (const filter of filters) showChoices(filter, newer.querySelector(`[data-filter='${filter.dataset.filter}']`));
    refresh();
  }

  function showChoices(filter, newer) {
    if (filter.dataset.filter === "q" || filter.innerHTML === newer.innerHTML) return;
    const value = filter.value;
    filter.replaceChildren(...newer.children);
    filter.value = value;
    filter.parentElement.hidden = newer.parentElement.hidden;
  }

  // ----------------------------------------------------------------------------------------------------------- begin

  form.addEventListener("input", (event) => {
    if (event.target === order) sort = { column: order.value, falling: FALLING.has(order.value) };
    refresh();
    writeAddress();
  });
  form.addEventListener("click", ({ target }) => {
    const heading = target.closest("th[data-column]");
    if (heading) sortBy(heading.dataset.column);
    if (target.matches(".fold")) {
      const { id } = target.closest("tbody").dataset;
      if (!open.delete(id)) open.add(id);
      showRows();
      writeAddress();
    }
    if (target.matches(".clear")) {
      for (const box of form.querySelectorAll("[name='run']:checked")) box.checked = false;
      showTicks();
    }
    if (target.matches(".all")) {
      for (const filter of filters) filter.value = "";
      showRows();
      writeAddress();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!compare.disabled) location.assign(`/compare?${new URLSearchParams(ticked.map((id) => ["run", id]))}`);
  });
  window.addEventListener("pageshow", showTicks);  // a page one comes back to has its ticks
  readAddress();
  refresh();
  setTimeout(look, isComplete() ? LOOK_MS : SOON_MS);
})();
