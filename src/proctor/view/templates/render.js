
// Videos on demand: each episode that the panel shows without a video has a button that requests it.
(() => {
  const viewer = document.getElementById("viewer");
  const ids = viewer.dataset.runs.split(" ");
  let offers = [];
  let replays = new Map();

  function key(run, { suite, task_id, episode }) {
    return JSON.stringify([run, suite, task_id, episode]);
  }

  function offer(episode) {
    const place = document.createElement("div");
    place.className = "rendering";
    const button = document.createElement("button");
    button.type = "button";
    const message = document.createElement("p");
    message.setAttribute("role", "status");
    place.append(button, message);
    episode.lane.querySelector(".problem").before(place);
    const made = { episode, place, button, message };
    button.addEventListener("click", () => render(made));
    return made;
  }

  function show({ episode, place, button, message }) {
    place.hidden = episode.outcome === "error" || Boolean(episode.video);
    if (place.hidden) return;
    const replay = replays.get(key(ids[episode.run], { ...page.data.tasks[episode.task], episode: episode.episode }));
    const state = replay?.state;
    button.disabled = state === "waiting" || state === "running";
    button.textContent = button.disabled ? "Rendering …" : state === "failed" ? "Render it again" : "Render it now";
    const waiting = "It waits for the one before it.";
    message.textContent = state === "waiting" ? waiting : state === "running" ? replay.message || "The simulator starts." : replay?.message ?? "";
    message.classList.toggle("failed", state === "failed");
  }

  async function render({ episode, button, message }) {
    const task = page.data.tasks[episode.task];
    button.disabled = true;
    try {
      const answer = await fetch(`/runs/${encodeURIComponent(ids[episode.run])}/replays`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-proctor-token": viewer.dataset.token },
        body: JSON.stringify({ suite: task.suite, task_id: task.task_id, episode: episode.episode }),
      });
      if (!answer.ok) throw new Error(sentence(await answer.text()));
      document.dispatchEvent(new CustomEvent("proctor:asked"));
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

  document.addEventListener("proctor:episodes", (event) => {
    offers = event.detail.map(offer);
    offers.forEach(show);
  });
  document.addEventListener("proctor:replays", (event) => {
    replays = new Map(event.detail.map((replay) => [key(replay.run, replay), replay]));
    offers.forEach(show);
  });
})();
