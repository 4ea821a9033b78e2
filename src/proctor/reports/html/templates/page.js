"use strict";

// The table of episodes: sorts, filters, turns pages, and shows the chosen episode beside it.
// What comes from simulators is only ever set as text.
(() => {
  const PAGE = 100;
  const OUTCOMES = ["failure", "error", "unknown", "success"];
  const SIGNS = { failure: "✗", error: "!", unknown: "?", success: "✓" };

  const browser = document.querySelector("#episodes .browser");
  const player = browser.querySelector(".player");
  const video = player.querySelector("video");

  let data;
  let episodes;
  let columns;

  let order = { name: "outcome", step: 1 };
  let shown = [];
  let page = 0;
  let chosen = null;

  // ------------------------------------------------------------------------------------------------- what there is

  function take(given) {
    data = given;
    episodes = data.rows.map((cells) => {
      const episode = Object.fromEntries(data.columns.map((name, i) => [name, cells[i]]));
      const task = data.tasks[episode.task];
      episode.found_by = [task.name, task.instruction, episode.seed, episode.outcome, episode.error]
        .join(" ").toLowerCase();
      return episode;
    });
    const known = (name) => episodes.some((episode) => episode[name] !== null);
    columns = [
      { name: "run", title: "run", shown: data.runs.length > 1, text: (e) => data.runs[e.run].letter },
      { name: "task", title: "task", shown: data.tasks.length > 1, text: (e) => data.tasks[e.task].name },
      { name: "episode", title: "episode", shown: true, number: true, text: (e) => e.episode },
      { name: "seed", title: "seed", shown: known("seed"), number: true, text: (e) => e.seed },
      { name: "outcome", title: "outcome", shown: true, text: (e) => e.outcome },
      { name: "length", title: "steps", shown: known("length"), number: true, text: (e) => e.length },
      { name: "reward", title: "reward", shown: known("reward"), number: true, text: (e) => rounded(e.reward) },
      { name: "max_reward", title: "max reward", shown: known("max_reward"), number: true, text: (e) => rounded(e.max_reward) },
    ].filter((column) => column.shown);
    const line = element("tr");
    const first = element("th", null, { scope: "col" });
    first.append(element("span", "show", { className: "hidden" }));
    line.append(first, ...columns.map(heading));
    browser.querySelector("thead").replaceChildren(line);
    const found = new Set(episodes.map((episode) => episode.outcome));
    offer("outcome", OUTCOMES.filter((name) => found.has(name)).map((name) => [name, name]));
    offer("task", data.tasks.map((task, i) => [i, task.name]));
    offer("run", data.runs.map((run, i) => [i, `${run.letter}  ${run.name}`]));
  }

  // A served page is told of newer data by the event proctor:data. Filters, page and choice stay; a video goes on.
  function renew(given) {
    const [before, page_before] = [chosen, page];
    const had_focus = browser.querySelector("tbody").contains(document.activeElement);
    take(given);
    chosen = episodes.find((e) => before && ["run", "task", "episode"].every((name) => e[name] === before[name])) ?? null;
    refresh();
    page = Math.min(page_before, Math.max(0, Math.ceil(shown.length / PAGE) - 1));
    draw();
    if (chosen !== null && chosen.video !== before.video) choose(chosen);
    if (had_focus) browser.querySelector("tbody tr.chosen button")?.focus({ preventScroll: true });
  }

  // ---------------------------------------------------------------------------------------------- small helpers

  function element(tag, text, properties = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    if (text !== null && text !== undefined) made.textContent = text;
    return made;
  }

  function rounded(value) {
    return value === null ? null : value.toFixed(Math.abs(value) < 1 && value !== 0 ? 3 : 2);
  }

  function rank(episode, name) {
    return name === "outcome" ? OUTCOMES.indexOf(episode.outcome) : episode[name];
  }

  function compare(a, b) {
    const [x, y] = [rank(a, order.name), rank(b, order.name)];
    if (x === null || y === null) return (x === null) - (y === null);
    return order.step * (x - y);
  }

  // ---------------------------------------------------------------------------------------------- what is shown

  function refresh() {
    const filters = Object.fromEntries(
      [...browser.querySelectorAll("[data-filter]")].map((input) => [input.dataset.filter, input.value]));
    const words = filters.text.toLowerCase().split(/\s+/).filter(Boolean);
    shown = episodes
      .filter((e) => (filters.outcome === "" || e.outcome === filters.outcome)
        && (filters.task === "" || e.task === Number(filters.task))
        && (filters.run === "" || e.run === Number(filters.run))
        && words.every((word) => e.found_by.includes(word)))
      .sort(compare);
    page = 0;
    draw();
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    const rows = shown.slice(page * PAGE, (page + 1) * PAGE).map(row);
    browser.querySelector("tbody").replaceChildren(...rows.length ? rows : [nothing()]);
    browser.querySelector(".filters output").textContent = shown.length === episodes.length
      ? `${episodes.length.toLocaleString("en")} episodes`
      : `${shown.length.toLocaleString("en")} of ${episodes.length.toLocaleString("en")} episodes`;
    const pager = browser.querySelector(".pager");
    pager.hidden = pages === 1;
    pager.querySelector("span").textContent = `page ${page + 1} of ${pages}`;
    pager.querySelector("[data-page='-1']").disabled = page === 0;
    pager.querySelector("[data-page='1']").disabled = page === pages - 1;
    for (const heading of browser.querySelectorAll("thead th[data-name]")) {
      const direction = order.step > 0 ? "ascending" : "descending";
      heading.setAttribute("aria-sort", heading.dataset.name === order.name ? direction : "none");
    }
  }

  function row(episode) {
    const line = element("tr", null, { className: episode.outcome });
    const name = `Show episode ${episode.episode} of ${data.tasks[episode.task].name}`;
    const button = element("button", episode.video ? "▶" : "○", { type: "button", title: name });
    button.setAttribute("aria-label", name);
    const first = element("td");
    first.append(button);
    line.append(first, ...columns.map((column) => cell(column, episode)));
    line.addEventListener("click", () => choose(episode));
    line.episode = episode;
    mark(line);
    return line;
  }

  function cell(column, episode) {
    const text = column.text(episode) ?? "–";
    const made = element("td", null, { className: classes(column) });
    if (column.name === "run") {
      made.append(swatch(episode.run));
    } else if (column.name === "outcome") {
      made.append(element("span", SIGNS[episode.outcome], { className: "sign" }), element("span", ` ${text}`, { className: "word" }));
    } else if (column.name === "task") {
      made.append(...text.split(/(?<=_)/).flatMap((part) => [part, element("wbr")]));
    } else {
      made.append(text);
    }
    return made;
  }

  function classes(column) {
    return column.number ? `number ${column.name}` : column.name;
  }

  function swatch(number) {
    const colour = Number(browser.dataset.runColours);
    return element("span", data.runs[number].letter, { className: `swatch run-${number % colour}` });
  }

  function nothing() {
    const line = element("tr");
    line.append(element("td", episodes.length ? "No episode is like that." : "No episode has a result yet.", { colSpan: columns.length + 1, className: "nothing" }));
    return line;
  }

  function mark(line) {
    const current = line.episode === chosen;
    line.classList.toggle("chosen", current);
    line.querySelector("button")?.setAttribute("aria-current", String(current));
  }

  // ------------------------------------------------------------------------------------------ the chosen episode

  function choose(episode) {
    chosen = episode;
    for (const line of browser.querySelectorAll("tbody tr")) mark(line);
    const task = data.tasks[episode.task];
    player.querySelector(".hint").hidden = true;
    player.querySelector(".chosen").hidden = false;
    player.querySelector("h3").textContent = `${task.name}, episode ${episode.episode}`;
    player.querySelector(".instruction").textContent = task.instruction;
    player.querySelector("dl").replaceChildren(...facts(episode));
    offerReplay(episode, "");
    play(episode);
    document.dispatchEvent(new CustomEvent("proctor:episode", { detail: { ...episode } }));
  }

  function facts(episode) {
    const pairs = columns.filter((column) => !["task", "episode"].includes(column.name))
      .map((column) => [column.title, column.text(episode) ?? "–"]);
    if (episode.error) pairs.push(["error", episode.error]);
    return pairs.flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
  }

  function play(episode) {
    video.hidden = !episode.video;
    if (!episode.video) {
      video.removeAttribute("src");
      video.load();
      return;
    }
    video.src = episode.video;
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
  }

  // If there is no video, shows the reason, and the command that would render it.
  function offerReplay(episode, problem) {
    const command = data.runs[episode.run].replay[episode.task];
    const unfinished = episode.outcome === "error";
    if (!problem && !episode.video) {
      problem = unfinished ? "It could not be run to its end: there is no video."
        : command ? "It has no video yet. Render it with:" : "It has no video.";
    }
    player.querySelector(".problem").textContent = problem;
    player.querySelector(".replay").hidden = !problem || unfinished || !command;
    player.querySelector(".replay code").textContent = `${command} ${episode.episode}`;
  }

  async function copy(button) {
    const code = player.querySelector(".replay code");
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  function move(step) {
    const next = shown[shown.indexOf(chosen) + step];
    if (next === undefined) return;
    const its_page = Math.floor(shown.indexOf(next) / PAGE);
    if (its_page !== page) {
      page = its_page;
      draw();
    }
    choose(next);
    [...browser.querySelectorAll("tbody tr")].find((line) => line.episode === next).querySelector("button").focus();
  }

  // -------------------------------------------------------------------------------------------------- beginning

  function heading(column) {
    const made = element("th", null, { scope: "col", className: classes(column) });
    made.dataset.name = column.name;
    const button = element("button", column.title, { type: "button" });
    button.addEventListener("click", () => {
      order = { name: column.name, step: order.name === column.name ? -order.step : 1 };
      refresh();
    });
    made.append(button);
    return made;
  }

  function offer(name, texts) {
    const select = browser.querySelector(`[data-filter='${name}']`);
    const [all, value_before] = [select.options[0], select.value];
    select.replaceChildren(all, ...texts.map(([value, text]) => element("option", text, { value })));
    select.value = value_before;
    if (select.selectedIndex < 0) select.value = "";
    select.parentElement.hidden = texts.length < 2;
  }

  function begin() {
    for (const input of browser.querySelectorAll("[data-filter]")) input.addEventListener("input", refresh);
    for (const button of browser.querySelectorAll("[data-page]")) {
      button.addEventListener("click", () => { page += Number(button.dataset.page); draw(); });
    }
    browser.querySelector("tbody").addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      if (chosen === null) choose(event.target.closest("tr").episode);
      else move(step);
    });
    const button = player.querySelector(".replay button");
    button.addEventListener("click", () => copy(button));
    video.addEventListener("error", () => {
      if (!video.getAttribute("src")) return;
      video.hidden = true;
      offerReplay(chosen, "Its video is not where it was when this page was made. Render it again with:");
    });
    browser.hidden = false;
    refresh();
  }

  take(JSON.parse(document.getElementById("episode-data").textContent));
  begin();
  document.addEventListener("proctor:data", (event) => renew(event.detail));
})();
