
// What the viewer adds to a report: it follows runs that go on, and has episodes filmed.
(() => {
  const SOONEST_MS = 1500;
  const SHARE = 0.1;  // of the time may be spent on new pages: evaluations need the machine more
  const viewer = document.getElementById("viewer");
  const liveness = viewer.querySelector(".liveness");
  const player = document.querySelector("#episodes .player .chosen");
  const ids = viewer.dataset.runs.split(" ");

  let data = JSON.parse(document.getElementById("episode-data").textContent);
  let stamp = viewer.dataset.stamp;
  let live = viewer.dataset.live === "yes";
  let wanted_stamp = stamp;
  let renewing = false;
  let source = null;
  let chosen = null;
  let replays = new Map();

  // ------------------------------------------------------------------------------------------------ what goes on

  function connect() {
    if (source !== null || document.hidden) return;
    source = new EventSource(`/events?${ids.map((id) => `run=${encodeURIComponent(id)}`).join("&")}`);
    source.addEventListener("state", (event) => hear(JSON.parse(event.data)));
    source.addEventListener("end", disconnect);
    source.addEventListener("error", () => {
      stamp = "";  // another server may answer next: with another token
      say(source?.readyState === EventSource.CLOSED ? "not followed any more" : "connection lost; trying again");
    });
  }

  function disconnect() {
    source?.close();
    source = null;
  }

  function hear(state) {
    live = state.live;
    replays = new Map(state.replays.map((replay) => [key(ids.indexOf(replay.run), replay), replay]));
    wanted_stamp = state.stamp;
    say(live ? "running" : "");
    showFilming();
    renew();
  }

  function say(text) {
    liveness.textContent = text;
    liveness.classList.toggle("running", text === "running");
  }

  async function renew() {
    if (renewing || stamp === wanted_stamp) return;
    renewing = true;
    const began = performance.now();
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      else say("the run cannot be read any more");
    } catch {
      say("connection lost; trying again");
    }
    const pause = Math.max(SOONEST_MS, (performance.now() - began) / SHARE);
    setTimeout(() => { renewing = false; renew(); }, pause);
  }

  function show(newer) {
    ({ stamp, token: viewer.dataset.token } = newer.getElementById("viewer").dataset);
    for (const id of ["results", "comparison", "tasks", "pictures"]) {
      const [old_part, new_part] = [document.getElementById(id), newer.getElementById(id)];
      if (old_part && new_part) old_part.replaceWith(document.adoptNode(new_part));
    }
    data = JSON.parse(newer.getElementById("episode-data").textContent);
    document.dispatchEvent(new CustomEvent("proctor:data", { detail: data }));
  }

  // ----------------------------------------------------------------------------------------------------- filming

  const filming = document.createElement("div");
  filming.className = "filming";
  const button = document.createElement("button");
  button.type = "button";
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  filming.append(button, said);
  filming.hidden = true;
  player.querySelector(".problem").before(filming);

  function key(run, { suite, task_id, episode }) {
    return JSON.stringify([run, suite, task_id, episode]);
  }

  function showFilming() {
    filming.hidden = chosen === null || chosen.outcome === "error" || Boolean(chosen.video);
    if (filming.hidden) return;
    const replay = replays.get(key(chosen.run, { ...data.tasks[chosen.task], episode: chosen.episode }));
    const state = replay?.state;
    button.disabled = state === "waiting" || state === "running";
    button.textContent = button.disabled ? "Filming …" : state === "failed" ? "Film it again" : "Film it now";
    const waiting = "It waits for the one before it.";
    said.textContent = state === "waiting" ? waiting : state === "running" ? replay.message || "The simulator starts." : replay?.message ?? "";
    said.classList.toggle("failed", state === "failed");
  }

  async function film() {
    const task = data.tasks[chosen.task];
    button.disabled = true;
    try {
      const answer = await fetch(`/runs/${encodeURIComponent(ids[chosen.run])}/replays`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-proctor-token": viewer.dataset.token },
        body: JSON.stringify({ suite: task.suite, task_id: task.task_id, episode: chosen.episode }),
      });
      if (!answer.ok) throw new Error(sentence(await answer.text()));
      disconnect();
      connect();
    } catch (error) {
      button.disabled = false;
      said.textContent = error instanceof TypeError ? "The server does not answer." : error.message;
      said.classList.add("failed");
    }
  }

  function sentence(html) {
    const parsed = new DOMParser().parseFromString(html, "text/html");
    return (parsed.querySelector(".warning") ?? parsed.body).textContent.trim();
  }

  // --------------------------------------------------------------------------------------------------- beginning

  button.addEventListener("click", film);
  document.addEventListener("proctor:episode", (event) => {
    chosen = event.detail;
    showFilming();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) disconnect();
    else connect();
  });
  if (live) {
    say("running");
    connect();
  }
})();
