
// The failures of one evaluation by task, each with the last frame of its video; pointing at one plays it.
(() => {
  const section = document.getElementById("failures");
  if (section === null) return;
  const { element } = page;
  const TILES = 6;
  const TASKS = 12;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const more = section.querySelector(".more");
  let all = false;
  let drawn = "";

  const near = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting || target.getAttribute("src")) continue;
      target.src = target.dataset.src;
      near.unobserve(target);
    }
  }, { rootMargin: "400px" });

  function draw() {
    const failures = page.episodes.filter((episode) => episode.outcome === "failure");
    section.hidden = failures.length === 0;
    document.querySelector("[data-part=failures]").hidden = section.hidden;
    const now = JSON.stringify([all, failures.map(({ task, episode, video }) => [task, episode, video])]);
    if (now === drawn) return;
    drawn = now;
    const by_task = new Map();
    for (const episode of failures) by_task.set(episode.task, [...by_task.get(episode.task) ?? [], episode]);
    const tasks = [...by_task].sort(([a], [b]) => a - b);
    const shown = all ? tasks : tasks.slice(0, TASKS);
    section.querySelector(".gallery").replaceChildren(...shown.map(([task, episodes]) => group(task, episodes)));
    more.hidden = shown.length === tasks.length;
    more.textContent = `Show the failures of all ${tasks.length} tasks`;
  }

  function group(task, failures) {
    const made = element("div", null, { className: "failures-of-task" });
    const total = page.episodes.filter((episode) => episode.task === task && episode.outcome !== "error").length;
    const heading = element("h3", page.data.tasks[task].name);
    heading.append(element("small", ` ${failures.length} of ${total}`));
    const with_video = failures.filter((episode) => episode.video);
    const first = [...with_video, ...failures.filter((episode) => !episode.video)].slice(0, TILES);
    const tiles = element("div", null, { className: "tiles" });
    tiles.append(...first.map(tile));
    if (failures.length > first.length) {
      const rest = element("button", `${failures.length - first.length} more`, { type: "button", className: "tile rest" });
      rest.addEventListener("click", () => {
        list.set({ task: String(task), outcome: "failure" });
        document.getElementById("episodes").scrollIntoView();
      });
      tiles.append(rest);
    }
    made.append(heading, tiles);
    return made;
  }

  function tile(episode) {
    const made = element("button", null, { type: "button", className: "tile" });
    made.setAttribute("aria-label", `Show episode ${episode.episode} of ${page.data.tasks[episode.task].name}, a failure`);
    if (episode.video) {
      made.append(poster(episode, made));
    } else {
      made.append(element("span", "no video yet", { className: "no-video" }));
    }
    const caption = element("span", null, { className: "caption" });
    const seed = episode.seed === null ? "" : ` · seed ${episode.seed}`;
    caption.append(element("span", "✗", { className: "sign failure" }), ` ${episode.episode}${seed}`);
    made.append(caption);
    made.addEventListener("click", () => {
      const entry = list.find(episode);
      list.set({ task: "", outcome: "failure", find: "" });
      list.choose(entry);
      document.getElementById("episodes").scrollIntoView();
    });
    return made;
  }

  // The end of a failure shows most of it.
  function poster(episode, button) {
    const video = element("video", null, { muted: true, playsInline: true, loop: true, preload: "metadata", tabIndex: -1 });
    video.setAttribute("aria-hidden", "true");
    video.dataset.src = episode.video;
    const rest = () => { video.pause(); video.currentTime = Math.max(0, video.duration - 0.01); };
    const start = () => { if (!calm.matches && video.duration) { video.currentTime = 0; video.play().catch(() => {}); } };
    video.addEventListener("loadedmetadata", rest);
    for (const name of ["pointerenter", "focus"]) button.addEventListener(name, start);
    for (const name of ["pointerleave", "blur"]) button.addEventListener(name, () => { if (video.duration) rest(); });
    near.observe(video);
    return video;
  }

  more.addEventListener("click", () => { all = true; draw(); });
  document.addEventListener("proctor:data", draw);
  draw();
})();
