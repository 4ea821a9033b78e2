
// The viewer's additions to a report: it follows runs that go on, and requests videos of episodes.
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
    source.addEventListener("state", (event) => receive(JSON.parse(event.data)));
    source.addEventListener("end", disconnect);
    source.addEventListener("error", () => {
      stamp = "";  // another server may answer next: with another token
      showLiveness(source?.readyState === EventSource.CLOSED ? "not followed any more" : "connection lost; trying again");
    });
  }

  function disconnect() {
    source?.close();
    source = null;
  }

  function receive(state) {
    live = state.live;
    replays = new Map(state.replays.map((replay) => [key(ids.indexOf(replay.run), replay), replay]));
    wanted_stamp = state.stamp;
    showProgress(state.going_on);
    showLiveness(live ? "running" : "");
    showRendering();
    renew();
  }

  function showProgress(html) {
    const [before, after] = [document.getElementById("going-on"), new DOMParser().parseFromString(html, "text/html").body.firstElementChild];
    if (before.querySelector("a")) after.append(before.querySelector("a").closest("div"));  // the way to compare anyway
    if (before.outerHTML !== after.outerHTML) before.replaceWith(document.adoptNode(after));
  }

  function showLiveness(text) {
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
      else showLiveness("the run cannot be read any more");
    } catch {
      showLiveness("connection lost; trying again");
    }
    const pause = Math.max(SOONEST_MS, (performance.now() - began) / SHARE);
    setTimeout(() => { renewing = false; renew(); }, pause);
  }

  function show(newer) {
    ({ stamp, token: viewer.dataset.token } = newer.getElementById("viewer").dataset);
    let last = document.getElementById("results");
    for (const id of ["going-on", "results", "comparison", "tasks", "charts"]) {
      const [old_part, new_part] = [document.getElementById(id), newer.getElementById(id)];
      if (!new_part) continue;
      const adopted = document.adoptNode(new_part);
      if (old_part) old_part.replaceWith(adopted);
      else last.after(adopted);  // such as the charts, once there is something to draw
      if (id !== "going-on") last = adopted;
    }
    document.querySelector(".top nav").replaceWith(document.adoptNode(newer.querySelector(".top nav")));
    data = JSON.parse(newer.getElementById("episode-data").textContent);
    document.dispatchEvent(new CustomEvent("proctor:data", { detail: data }));
  }

  // ----------------------------------------------------------------------------------------------------- rendering

  const rendering = document.createElement("div");
  rendering.className = "rendering";
  const button = document.createElement("button");
  button.type = "button";
  const message = document.createElement("p");
  message.setAttribute("role", "status");
  rendering.append(button, message);
  rendering.hidden = true;
  player.querySelector(".problem").before(rendering);

  function key(run, { suite, task_id, episode }) {
    return JSON.stringify([run, suite, task_id, episode]);
  }

  function showRendering() {
    rendering.hidden = chosen === null || chosen.outcome === "error" || Boolean(chosen.video);
    if (rendering.hidden) return;
    const replay = replays.get(key(chosen.run, { ...data.tasks[chosen.task], episode: chosen.episode }));
    const state = replay?.state;
    button.disabled = state === "waiting" || state === "running";
    button.textContent = button.disabled ? "Rendering …" : state === "failed" ? "Render it again" : "Render it now";
    const waiting = "It waits for the one before it.";
    message.textContent = state === "waiting" ? waiting : state === "running" ? replay.message || "The simulator starts." : replay?.message ?? "";
    message.classList.toggle("failed", state === "failed");
  }

  async function render() {
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
      message.textContent = error instanceof TypeError ? "The server does not answer." : error.message;
      message.classList.add("failed");
    }
  }

  function sentence(html) {
    const parsed = new DOMParser().parseFromString(html, "text/html");
    return (parsed.querySelector(".warning") ?? parsed.body).textContent.trim();
  }

  // --------------------------------------------------------------------------------------------------- beginning

  button.addEventListener("click", render);
  document.addEventListener("proctor:episode", (event) => {
    chosen = event.detail;
    showRendering();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) disconnect();
    else connect();
  });
  if (live) {
    showLiveness("running");
    connect();
  }
})();
