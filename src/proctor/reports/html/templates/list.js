
// The table of episodes: one evaluation's, or those of two side by side on the same seed. It sorts, filters and turns
// pages; an entry is an episode, or what A and B made of one.
const list = (() => {
  const PAGE = 100;
  const KINDS = {
    failure: "✗ failure", error: "! error", unknown: "? unknown", success: "✓ success",
    fs: "A ✗ B ✓", sf: "A ✓ B ✗", ff: "both ✗", ss: "both ✓", other: "other",
  };
  const MEANINGS = {
    fs: "A fails, B succeeds", sf: "A succeeds, B fails", ff: "both fail", ss: "both succeed",
    other: "one of the two is missing, in error, or of unknown success",
  };
  const { browser, element } = page;
  const body = browser.querySelector("tbody");

  let entries = [];
  let columns = [];
  let shown = [];
  let at = 0;
  let chosen = null;

  // ------------------------------------------------------------------------------------------------- what there is

  function collect() {
    const [a, b] = [Number(page.state.a), Number(page.state.b)];
    entries = page.pairs ? paired(a, b) : page.episodes.map((e) => entry(e, [e]));
    columns = page.pairs ? columnsOfPairs(a, b) : columnsOfOne();
    columns = columns.filter((column) => column.always || entries.some((each) => column.value(each) !== null));
    const line = element("tr");
    const first = element("th", null, { scope: "col" });
    first.append(element("span", "show", { className: "hidden" }));
    line.append(first, ...columns.map(heading));
    browser.querySelector("thead").replaceChildren(line);
    offer("task", page.data.tasks.map((task, i) => [String(i), task.name]), true);
    const runs = page.data.runs.map((run, i) => [String(i), `${run.letter}  ${run.name}`]);
    offer("a", runs, false);
    offer("b", runs, false);
    for (const each of ["a", "b"]) input(each).parentElement.hidden = !page.pairs;
  }

  function entry(of, episodes) {
    const { name, instruction } = page.data.tasks[of.task];
    const errors = episodes.map((e) => e?.error ?? "").join(" ");
    const outcomes = episodes.map((e) => e?.outcome ?? "").join(" ");
    return {
      task: of.task, episode: of.episode, seed: of.seed, episodes,
      kind: page.pairs ? pairKind(episodes) : of.outcome,
      key: JSON.stringify([of.task, of.episode]),
      found_by: `${name} ${instruction} ${of.seed} ${outcomes} ${errors}`.toLowerCase(),
    };
  }

  // Episodes are the same if task, number, seed and initial state are.
  function paired(a, b) {
    const found = new Map();
    for (const episode of page.episodes) {
      if (episode.run !== a && episode.run !== b) continue;
      const key = [episode.task, episode.episode, episode.seed, episode.init_state].join(" ");
      if (!found.has(key)) found.set(key, [null, null]);
      if (episode.run === a) found.get(key)[0] = episode;
      if (episode.run === b) found.get(key)[1] = episode;
    }
    return [...found.values()].map((both) => entry(both[0] ?? both[1], both));
  }

  function pairKind(episodes) {
    const letters = episodes.map((e) => ({ failure: "f", success: "s" })[e?.outcome] ?? "-").join("");
    return letters.includes("-") ? "other" : letters;
  }

  function columnsOfOne() {
    const of = (name) => (each) => each.episodes[0][name];
    return [
      ...columnsOfBoth(),
      { name: "outcome", title: "outcome", always: true, value: (e) => kinds().indexOf(e.kind), parts: (e) => page.outcome(e.episodes[0]) },
      { name: "length", title: "steps", number: true, value: of("length") },
      { name: "reward", title: "reward", number: true, value: of("reward"), text: (e) => page.rounded(e.episodes[0].reward) },
      { name: "max_reward", title: "max reward", number: true, value: of("max_reward"), text: (e) => page.rounded(e.episodes[0].max_reward) },
    ];
  }

  // Rewards only if they are all there is: the panel has them, and the table has to leave it room.
  function columnsOfPairs(a, b) {
    const of = (side, name) => (each) => each.episodes[side]?.[name] ?? null;
    const two = (make) => [a, b].map((run, side) => make(page.data.runs[run].letter, side, run));
    return [
      ...columnsOfBoth(),
      ...two((name, side, run) => ({ name: `outcome-${side}`, class: "outcome", title: name, run, always: true,
        value: (e) => page.OUTCOMES.indexOf(e.episodes[side]?.outcome ?? "success"), parts: (e) => page.outcome(e.episodes[side]) })),
      ...two((name, side) => ({ name: `length-${side}`, class: "length", title: `${name} steps`, number: true, value: of(side, "length") })),
      ...(page.episodes.every((e) => e.outcome !== "unknown") ? [] : two((name, side) => ({ name: `reward-${side}`, class: "reward", title: `${name} reward`, number: true,
        value: of(side, "reward"), text: (e) => page.rounded(e.episodes[side]?.reward) }))),
    ];
  }

  function columnsOfBoth() {
    return [
      ...(page.data.tasks.length > 1
        ? [{ name: "task", title: "task", always: true, value: (e) => e.task, parts: (e) => page.data.tasks[e.task].name.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]) }]
        : []),
      { name: "episode", title: "episode", number: true, always: true, value: (e) => e.episode },
      { name: "seed", title: "seed", number: true, value: (e) => e.seed },
    ];
  }

  function kinds() {
    return page.pairs ? ["fs", "sf", "ff", "ss", "other"] : page.OUTCOMES;
  }

  function input(name) {
    return browser.querySelector(`[data-filter='${name}']`);
  }

  // ---------------------------------------------------------------------------------------------------- what is shown

  function order() {
    const [name, direction] = (page.state.sort || (page.pairs ? "" : "outcome")).split(".");
    return { column: columns.find((column) => column.name === name) ?? null, step: direction === "desc" ? -1 : 1 };
  }

  function refresh() {
    const { task, outcome, find } = page.state;
    const words = find.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = entries.filter((each) => (task === "" || each.task === Number(task))
      && words.every((word) => each.found_by.includes(word)));
    drawChips(wanted);
    shown = wanted.filter((each) => outcome === "" || each.kind === outcome).sort(compare());
    at = 0;
    draw();
    page.writeAddress(chosen);
  }

  // Without a choice: failures first, or what A and B differ in.
  function compare() {
    const { column, step } = order();
    const rank = Object.fromEntries(kinds().map((kind, i) => [kind, i]));
    return (a, b) => {
      const [x, y] = column === null ? [rank[a.kind], rank[b.kind]] : [column.value(a), column.value(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return step * (x - y);
    };
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    const rows = shown.slice(at * PAGE, (at + 1) * PAGE).map(row);
    body.replaceChildren(...rows.length ? rows : [nothing()]);
    const many = (n) => n.toLocaleString("en");
    browser.querySelector(".filters output").textContent = shown.length === entries.length
      ? `${many(entries.length)} ${page.pairs ? "seeds" : "episodes"}`
      : `${many(shown.length)} of ${many(entries.length)} ${page.pairs ? "seeds" : "episodes"}`;
    const pager = browser.querySelector(".pager");
    pager.hidden = pages === 1;
    pager.querySelector("span").textContent = `page ${at + 1} of ${pages}`;
    pager.querySelector("[data-page='-1']").disabled = at === 0;
    pager.querySelector("[data-page='1']").disabled = at === pages - 1;
    const { column, step } = order();
    for (const made of browser.querySelectorAll("thead th[data-name]")) {
      made.setAttribute("aria-sort", made.dataset.name === column?.name ? (step > 0 ? "ascending" : "descending") : "none");
    }
  }

  function drawChips(wanted) {
    const counts = new Map();
    for (const each of wanted) counts.set(each.kind, (counts.get(each.kind) ?? 0) + 1);
    const offered = kinds().filter((kind) => counts.has(kind) || page.state.outcome === kind || (page.pairs && kind !== "other"));
    const chips = [["", "all", wanted.length], ...offered.map((kind) => [kind, KINDS[kind], counts.get(kind) ?? 0])];
    const place = browser.querySelector(".chips");
    const focused = place.contains(document.activeElement) ? document.activeElement.dataset.outcome : null;
    place.replaceChildren(...chips.map(([kind, title, n]) => {
      const made = element("button", null, { type: "button", title: named(MEANINGS[kind] ?? "") });
      made.dataset.outcome = kind;
      made.setAttribute("aria-pressed", String(page.state.outcome === kind));
      made.append(element("span", named(title)), element("span", n.toLocaleString("en"), { className: "count" }));
      return made;
    }));
    if (focused !== null) place.querySelector(`[data-outcome='${focused}']`)?.focus();
  }

  // Puts the letters of the chosen evaluations in the place of A and B.
  function named(text) {
    const letters = { A: page.state.a, B: page.state.b };
    return page.pairs ? text.replace(/\b[AB]\b/g, (side) => page.data.runs[Number(letters[side])].letter) : text;
  }

  function row(each) {
    const line = element("tr", null, { className: each.kind });
    const name = `Show episode ${each.episode} of ${page.data.tasks[each.task].name}`;
    const button = element("button", each.episodes.some((e) => e?.video) ? "▶" : "○", { type: "button", title: name });
    button.setAttribute("aria-label", name);
    const first = element("td");
    first.append(button);
    line.append(first, ...columns.map((column) => cell(column, each)));
    line.entry = each;
    mark(line);
    return line;
  }

  function cell(column, each) {
    const made = element("td", null, { className: classes(column) });
    if (column.parts) made.append(...column.parts(each));
    else made.append(String((column.text ?? column.value)(each) ?? "–"));
    return made;
  }

  function classes(column) {
    const name = column.class ?? column.name;
    return column.number ? `number ${name}` : name;
  }

  function nothing() {
    const line = element("tr");
    line.append(element("td", entries.length ? "No episode is like that." : "No episode has a result yet.", { colSpan: columns.length + 1, className: "nothing" }));
    return line;
  }

  function mark(line) {
    const current = chosen !== null && line.entry === chosen;
    line.classList.toggle("chosen", current);
    line.querySelector("button")?.setAttribute("aria-current", String(current));
  }

  // ------------------------------------------------------------------------------------------------------ the choice

  function choose(each, { focus = false } = {}) {
    chosen = each;
    const place = shown.indexOf(each);
    if (place >= 0 && Math.floor(place / PAGE) !== at) {
      at = Math.floor(place / PAGE);
      draw();
    }
    for (const line of body.querySelectorAll("tr")) mark(line);
    const line = [...body.querySelectorAll("tr")].find((found) => found.entry === each);
    if (focus) line?.querySelector("button").focus({ preventScroll: true });
    line?.scrollIntoView({ block: "nearest" });
    page.writeAddress(chosen);
    panel.show(each.episodes);
  }

  function move(direction, { focus = false } = {}) {
    const place = shown.indexOf(chosen);
    const next = place < 0 ? shown[direction > 0 ? 0 : shown.length - 1] : shown[place + direction];
    if (next !== undefined) choose(next, { focus });
  }

  // The next failure of the list, beyond its end from its beginning.
  function moveToFailure(direction) {
    const fails = (each) => each.episodes.some((e) => e?.outcome === "failure");
    const from = shown.indexOf(chosen);
    for (let i = 1; i <= shown.length; i += 1) {
      const start = from < 0 && direction > 0 ? -1 : Math.max(from, 0);
      const each = shown[(start + direction * i + 2 * shown.length) % shown.length];
      if (fails(each)) {
        choose(each);
        return;
      }
    }
  }

  function find({ task, episode }) {
    return entries.find((each) => each.task === task && each.episode === episode) ?? null;
  }

  // -------------------------------------------------------------------------------------------------------- beginning

  function heading(column) {
    const made = element("th", null, { scope: "col", className: classes(column) });
    made.dataset.name = column.name;
    const button = element("button", column.run === undefined ? column.title : null, { type: "button" });
    if (column.run !== undefined) {
      button.append(page.swatch(column.run));
      button.setAttribute("aria-label", `outcome of ${column.title}`);
    }
    button.addEventListener("click", () => {
      const { column: before, step } = order();
      set({ sort: `${column.name}${before === column && step > 0 ? ".desc" : ""}` });
    });
    made.append(button);
    return made;
  }

  function offer(name, texts, all) {
    const select = input(name);
    const made = texts.map(([value, text]) => element("option", text, { value }));
    select.replaceChildren(...(all ? [select.options[0]] : []), ...made);
    select.parentElement.hidden = texts.length < 2;
  }

  function showFilters() {
    for (const name of ["task", "find", "a", "b"]) input(name).value = page.state[name];
  }

  function set(changes) {
    Object.assign(page.state, changes);
    if ("a" in changes || "b" in changes) {
      const before = chosen;
      collect();
      chosen = before && find(before);
      if (chosen) panel.show(chosen.episodes);
    }
    showFilters();
    refresh();
  }

  // What the address says, at the beginning and after somebody has edited it.
  function followAddress() {
    const place = page.readAddress();
    collect();
    showFilters();
    chosen = place && find(place);  // before the address is written, which would lose it
    refresh();
    if (chosen) {
      choose(chosen);
      document.getElementById("episodes").scrollIntoView();
    }
  }

  // A served page is told of newer data by the event proctor:data. Filters, page and choice stay; a video goes on.
  function renew(given) {
    const [before, at_before] = [chosen, at];
    const had_focus = body.contains(document.activeElement);
    page.take(given);
    collect();
    showFilters();
    chosen = before && find(before);
    refresh();
    at = Math.min(at_before, Math.max(0, Math.ceil(shown.length / PAGE) - 1));
    draw();
    if (chosen) panel.renew(chosen.episodes);
    if (had_focus) body.querySelector("tr.chosen button")?.focus({ preventScroll: true });
  }

  for (const name of ["task", "find", "a", "b"]) {
    input(name).addEventListener("input", ({ target }) => set({ [name]: target.value }));
  }
  browser.querySelector(".chips").addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (chip) set({ outcome: chip.dataset.outcome });
  });
  for (const button of browser.querySelectorAll("[data-page]")) {
    button.addEventListener("click", () => { at += Number(button.dataset.page); draw(); });
  }
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (line?.entry) choose(line.entry);
  });
  body.addEventListener("keydown", (event) => {
    const direction = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (direction === undefined) return;
    event.preventDefault();
    if (chosen === null) choose(event.target.closest("tr").entry, { focus: true });
    else move(direction, { focus: true });
  });
  panel.controls.querySelector("[data-do=failure-before]").addEventListener("click", () => moveToFailure(-1));
  panel.controls.querySelector("[data-do=failure-after]").addEventListener("click", () => moveToFailure(1));
  document.addEventListener("proctor:data", (event) => renew(event.detail));
  window.addEventListener("hashchange", () => { if (/[/?]/.test(location.hash)) followAddress(); });
  browser.hidden = false;
  followAddress();

  return { choose, find, move, moveToFailure, set, search: () => input("find").focus() };
})();
