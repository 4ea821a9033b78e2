"use strict";

// What the parts of the page share: the data, what is chosen of it (which the address holds), and small helpers.
// What comes from simulators is only ever set as text.
const page = (() => {
  const OUTCOMES = ["failure", "error", "unknown", "success"];
  const SIGNS = { failure: "✗", error: "!", unknown: "?", success: "✓" };
  const PLAIN = { task: "", outcome: "", find: "", sort: "", a: "0", b: "1" };
  const browser = document.querySelector("#episodes .browser");

  let data;
  let episodes;
  let state = { ...PLAIN };

  function take(given) {
    data = given;
    episodes = data.rows.map((cells) => Object.fromEntries(data.columns.map((name, i) => [name, cells[i]])));
  }

  // ------------------------------------------------------------------------------------------------- the address

  // #task/episode?outcome=failure&find=word: what a link to an episode, or to a filtered table, holds.
  function names() {
    const count = new Map();
    for (const task of data.tasks) count.set(task.name, (count.get(task.name) ?? 0) + 1);
    return data.tasks.map((task) => (count.get(task.name) === 1 ? task.name : `${task.suite}:${task.task_id}`));
  }

  function readAddress() {
    const [place, query] = location.hash.slice(1).split("?");
    const given = Object.fromEntries(new URLSearchParams(query ?? ""));
    state = { ...PLAIN };
    for (const name of Object.keys(PLAIN)) if (given[name] !== undefined) state[name] = given[name];
    for (const side of ["a", "b"]) if (!(Number(state[side]) in data.runs)) state[side] = PLAIN[side];
    if (state.task !== "") state.task = String(Math.max(-1, names().indexOf(state.task)));
    if (state.task === "-1") state.task = "";
    const cut = place.lastIndexOf("/");
    if (cut < 0) return null;
    const task = names().indexOf(decode(place.slice(0, cut)));
    return task < 0 ? null : { task, episode: Number(place.slice(cut + 1)) };
  }

  function decode(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  function writeAddress(chosen) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) {
      if (value !== PLAIN[name]) query.set(name, name === "task" ? names()[Number(value)] : value);
    }
    const place = chosen === null ? "" : `${encodeURIComponent(names()[chosen.task])}/${chosen.episode}`;
    const hash = place || query.size ? `#${place}${query.size ? `?${query}` : ""}` : "";
    if (hash !== location.hash && (hash || /[/?]/.test(location.hash))) {
      history.replaceState(history.state, "", hash || location.pathname + location.search);
    }
  }

  // ------------------------------------------------------------------------------------------------------ helpers

  function element(tag, text, properties = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    if (text !== null && text !== undefined) made.textContent = text;
    return made;
  }

  function rounded(value) {
    return value === null || value === undefined ? null : value.toFixed(Math.abs(value) < 1 && value !== 0 ? 3 : 2);
  }

  function swatch(run) {
    const colours = Number(browser.dataset.runColours);
    return element("span", data.runs[run].letter, { className: `swatch run-${run % colours}` });
  }

  function outcome(episode) {
    if (!episode) return [element("span", "–", { className: "sign" })];
    return [
      element("span", SIGNS[episode.outcome], { className: `sign ${episode.outcome}` }),
      element("span", ` ${episode.outcome}`, { className: "word" }),
    ];
  }

  async function copy(text, button, source = null) {
    const before = button.textContent;
    if (source) getSelection().selectAllChildren(source);
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = source ? "Press Ctrl+C" : "Not copied";
    }
    setTimeout(() => { button.textContent = before; }, 2000);
  }

  for (const button of document.querySelectorAll("#provenance .copies")) {
    const source = button.previousElementSibling;
    button.addEventListener("click", () => copy(source.textContent, button, source));
  }

  take(JSON.parse(document.getElementById("episode-data").textContent));
  return {
    OUTCOMES, SIGNS, browser, copy, element, names, outcome, readAddress, rounded, swatch, take, writeAddress,
    get data() { return data; },
    get episodes() { return episodes; },
    get state() { return state; },
    get pairs() { return data.runs.length > 1; },
  };
})();
