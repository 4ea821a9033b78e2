
// The matrix of runs and tasks: it sorts tasks and runs, and says what a cell holds. A server may exchange the section,
// so that events are received by the document and the choices are made again.
(() => {
  const choice = { sort: null, step: -1, order: "given", show: null };
  let current = null;

  const matrix = () => document.querySelector("#comparison .matrix");

  function value(line, name) {
    if (name === "name") return line.dataset.name;
    const cell = name === "spread" ? line.querySelector(".spread") : line.querySelector(`[data-run='${name}']`);
    const key = choice.show === null || choice.show === "rate" || name === "spread" ? "value" : choice.show;
    return cell?.dataset[key] ? Number(cell.dataset[key]) : null;
  }

  function sort() {
    const table = matrix();
    for (const heading of table.querySelectorAll("thead [aria-sort]")) {
      const mine = heading.querySelector("[data-sort]").dataset.sort === choice.sort;
      heading.setAttribute("aria-sort", mine ? (choice.step > 0 ? "ascending" : "descending") : "none");
    }
    if (choice.sort === null) return;
    const names = new Intl.Collator("en", { numeric: true });
    for (const body of table.querySelectorAll("tbody.task")) {
      const lines = [...body.children].map((line) => [line, value(line, choice.sort)]);
      lines.sort(([, a], [, b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return choice.step * (typeof a === "string" ? names.compare(a, b) : Math.abs(a) - Math.abs(b));
      });
      body.append(...lines.map(([line]) => line));
    }
  }

  function orderRuns() {
    const table = matrix();
    const last = [...table.querySelectorAll("tbody tr")].pop();
    const rated = [...table.querySelectorAll("thead [data-run]")].map(({ dataset: { run } }) => run);
    rated.sort((a, b) => (choice.order === "given" ? a - b : (value(last, b) ?? -1) - (value(last, a) ?? -1)));
    for (const line of table.querySelectorAll("tr")) {
      const cells = rated.map((run) => line.querySelector(`[data-run='${run}']`));
      line.querySelector("th").after(...cells);
    }
  }

  function apply() {
    const table = matrix();
    if (!table) return;
    if (choice.show === null) choice.show = table.dataset.show;
    table.dataset.show = choice.show;
    for (const select of document.querySelectorAll("[data-matrix]")) select.value = choice[select.dataset.matrix];
    orderRuns();
    sort();
    table.querySelector("tbody [data-run]")?.setAttribute("tabindex", "0");
  }

  function tell(cell) {
    const run = page.data.runs[Number(cell.dataset.run)];
    const line = cell.closest("tr");
    const { value: rate, interval, tally, reward, steps, errors, missing, against } = cell.dataset;
    const said = [
      rate === undefined ? "no success rate" : `${(100 * Number(rate)).toFixed(1)} %`,
      interval && `(${interval})`, tally, reward && `reward ${Number(reward).toFixed(2)}`,
      steps && `steps ${Number(steps).toFixed(1)}`, errors && `${errors} in error`, missing && `${missing} missing`, against,
    ].filter(Boolean).join(" · ");
    const place = document.querySelector("#comparison .detail");
    place.replaceChildren(page.swatch(Number(cell.dataset.run)), ` ${run.name}, ${line.dataset.name}: ${said}`);
  }

  const cellOf = (event) => event.target.closest?.(".matrix tbody [data-run]");

  function move(cell, key) {
    const lines = [...matrix().querySelectorAll("tbody tr")];
    const cells = (line) => [...line.querySelectorAll("[data-run]")];
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[key];
    const line = lines[lines.indexOf(cell.closest("tr")) + down];
    const next = line && cells(line)[cells(cell.closest("tr")).indexOf(cell) + right];
    if (!next) return;
    cell.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }

  document.addEventListener("pointerover", (event) => { const cell = cellOf(event); if (cell && cell !== current) tell(current = cell); });
  document.addEventListener("focusin", (event) => { const cell = cellOf(event); if (cell) tell(current = cell); });
  document.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell || !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    move(cell, event.key);
  });
  document.addEventListener("input", ({ target }) => {
    if (!target.dataset?.matrix) return;
    choice[target.dataset.matrix] = target.value;
    apply();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-sort]");
    if (button) {
      const { sort: name } = button.dataset;
      const first = name === "name" ? 1 : -1;
      Object.assign(choice, { sort: name, step: choice.sort === name ? -choice.step : first });
      apply();
      return;
    }
    // A cell leads to its task, with the first run and its own side by side.
    const cell = cellOf(event);
    const task = cell && page.names().findIndex((_, i) => page.data.tasks[i].name === cell.closest("tr").dataset.name);
    if (!cell || task < 0) return;
    const run = cell.dataset.run;
    list.set({ task: String(task), ...(run === page.state.a ? {} : { b: run }) });
  });
  document.addEventListener("proctor:data", apply);
  apply();
})();
