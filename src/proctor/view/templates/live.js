
// The viewer's additions to a report: it follows runs that go on, and requests videos of episodes.
(() => {
  const SOONEST_MS = 1500;
  const SHARE = 0.1;  // of the time may be spent on new pages: evaluations need the machine more
  const viewer = document.getElementById("viewer");
  const liveness = viewer.querySelector(".liveness");
  const ids = viewer.dataset.runs.split(" ");

  let data = JSON.parse(document.getElementById("episode-data").textContent);
  let stamp = viewer.dataset.stamp;
  let live = viewer.dataset.live === "yes";
  let wanted_stamp = stamp;
  let renewing = false;
  let source = null;

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
    wanted_stamp = state.stamp;
    showProgress(state.going_on);
    showLiveness(live ? "running" : "");
    document.dispatchEvent(new CustomEvent("proctor:replays", { detail: state.replays }));
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
    for (const id of ["going-on", "results", "comparison", "tasks", "charts"]) {
      const [old_part, new_part] = [document.getElementById(id), newer.getElementById(id)];
      if (!new_part) continue;
      const before = document.getElementById(new_part.previousElementSibling?.id ?? "");
      const adopted = document.adoptNode(new_part);
      if (old_part) old_part.replaceWith(adopted);
      else before?.after(adopted);  // such as the charts, once there is something to draw
    }
    for (const link of newer.querySelectorAll(".top nav a")) {
      const [links, href] = [document.querySelector(".top nav"), link.getAttribute("href")];
      if (!links.querySelector(`a[href="${href}"]`)) links.querySelector("[href='#provenance']").before(document.adoptNode(link));
    }
    data = JSON.parse(newer.getElementById("episode-data").textContent);
    document.dispatchEvent(new CustomEvent("proctor:data", { detail: data }));
  }

  // --------------------------------------------------------------------------------------------------- beginning

  document.addEventListener("proctor:asked", () => { disconnect(); connect(); });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) disconnect();
    else connect();
  });
  if (live) {
    showLiveness("running");
    connect();
  }
})();
