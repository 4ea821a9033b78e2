
// The panel of the chosen episode, or of A's and B's on one seed: videos, and what was recorded, under one scrubber.
const panel = (() => {
  const SPEEDS = [0.25, 0.5, 1, 2];
  const STEPS_PER_S = 20;  // of an episode without a video
  const player = page.browser.querySelector(".player");
  const controls = player.querySelector(".controls");
  const slider = controls.querySelector("input");
  const speed = controls.querySelector("select");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  let lanes = [];
  let strips = [];
  let length = 1;
  let step = 0;
  let playing = false;
  let tick = { at: 0, step: 0 };
  let shown = 0;

  // ------------------------------------------------------------------------------------------------ what is shown

  function show(episodes) {
    pause();
    player.querySelector(".hint").hidden = true;
    player.querySelector(".chosen").hidden = false;
    const { task, episode } = episodes.find(Boolean);
    const { name, instruction } = page.data.tasks[task];
    player.querySelector("h3").textContent = `${name}, episode ${episode}`;
    player.querySelector(".instruction").textContent = instruction === name ? "" : instruction;
    lanes = episodes.filter(Boolean).map(lane);
    player.querySelector(".lanes").replaceChildren(...lanes.map(({ place }) => place));
    player.querySelector(".lanes").classList.toggle("two", lanes.length > 1);
    length = Math.max(1, ...lanes.map((each) => each.episode.length ?? 0));
    slider.max = length;
    player.querySelector("dl").replaceChildren(...facts());
    draw();
    go(0);
    document.dispatchEvent(new CustomEvent("proctor:episodes", {
      detail: lanes.map((each) => ({ ...each.episode, lane: each.place })),
    }));
    if (!calm.matches && lanes.some((each) => each.episode.video)) play();
  }

  // A video that has come since takes its place; what is playing goes on.
  function renew(episodes) {
    const added = episodes.filter(Boolean);
    const same = added.length === lanes.length && added.every((e, i) => e.video === lanes[i].episode.video && e.run === lanes[i].episode.run);
    if (!same) show(episodes);
  }

  function lane(episode) {
    const place = document.getElementById("lane").content.firstElementChild.cloneNode(true);
    const video = place.querySelector("video");
    const made = { episode, place, video, frames: (episode.length ?? 0) + 1, ready: false };
    if (page.pairs) place.querySelector(".of-lane").append(page.swatch(episode.run), " ", ...page.outcome(episode));
    place.querySelector(".of-lane").hidden = !page.pairs;
    video.setAttribute("aria-label", `Video of episode ${episode.episode}${page.pairs ? ` of ${page.data.runs[episode.run].letter}` : ""}`);
    video.hidden = !episode.video;
    video.addEventListener("loadedmetadata", () => measure(made));
    video.addEventListener("click", toggle);
    video.addEventListener("error", () => {
      if (!video.getAttribute("src")) return;
      video.hidden = true;
      made.episode = { ...made.episode, video: null };
      offerReplay(made, "Its video is not where it was when this page was made. Render it again with:");
    });
    if (episode.video) video.src = episode.video;
    const button = place.querySelector(".replay button");
    const code = place.querySelector(".replay code");
    button.addEventListener("click", () => page.copy(code.textContent, button, code));
    offerReplay(made, "");
    return made;
  }

  // If there is no video, shows the reason, and the command that would render it.
  function offerReplay({ episode, place }, problem) {
    const command = page.data.runs[episode.run].replay[episode.task];
    const unfinished = episode.outcome === "error";
    if (!problem && !episode.video) {
      problem = unfinished ? "It could not be run to its end: there is no video."
        : command ? "It has no video yet. Render it with:" : "It has no video.";
    }
    place.querySelector(".problem").textContent = problem;
    place.querySelector(".replay").hidden = !problem || unfinished || !command;
    place.querySelector(".replay code").textContent = `${command} ${episode.episode}`;
  }

  function facts() {
    const known = [["outcome", (e) => e.outcome], ["seed", (e) => e.seed], ["initial state", (e) => e.init_state],
      ["steps", (e) => e.length], ["reward", (e) => page.rounded(e.reward)],
      ["max reward", (e) => page.rounded(e.max_reward)], ["error", (e) => e.error]];
    return known.map(([name, value]) => [name, [...new Set(lanes.map(({ episode }) => value(episode) ?? "–"))]])
      .filter(([, values]) => values.some((value) => value !== "–"))
      .flatMap(([name, values]) => [page.element("dt", name), page.element("dd", values.join(" · "))]);
  }

  // ------------------------------------------------------------------------------------------------ what was recorded

  async function draw() {
    const ticket = ++shown;
    strips = [];
    const found = await Promise.all(lanes.map(({ episode }) => traces.of(episode)));
    if (ticket !== shown) return;
    const names = [...new Set(found.flatMap((trace) => trace?.channels.map(({ name }) => name) ?? []))];
    strips = names.map((name) => {
      const lines = found.flatMap((trace, i) => (trace?.channels ?? [])
        .filter((channel) => channel.name === name)
        .map((channel) => ({ ...channel, look: page.pairs ? `run-${lanes[i].episode.run % Number(page.browser.dataset.runColours)}` : "" })));
      return traces.strip(name, lines, length);
    });
    const place = player.querySelector(".strips");
    place.classList.toggle("many", strips.length > 10);
    place.replaceChildren(...strips.map(({ row }) => row));
    for (const { drawing } of strips) {
      const follow = (event) => {
        const box = drawing.getBoundingClientRect();
        pause();
        go(Math.round((length * (event.clientX - box.left)) / box.width));
      };
      drawing.addEventListener("pointerdown", (event) => { drawing.setPointerCapture(event.pointerId); follow(event); });
      drawing.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
    }
    player.querySelector(".untraced").textContent = untraced(found);
    for (const strip of strips) strip.show(step);
  }

  function untraced(found) {
    if (lanes.every(({ episode }) => episode.outcome === "error")) return "";
    if (found.every(Boolean)) return "The state was not recorded; a replay shows it in its video.";
    return document.getElementById("trace-data") === null
      ? "Its actions were not recorded."
      : "Its actions are not in this page, which holds those of the first failures; proctor view shows all.";
  }

  // -------------------------------------------------------------------------------------------------------- scrubbing

  // The frames of a video are `every` steps apart; the first is the reset and the last the end. How long each lasts is
  // found at the end: the last frame begins that long before it. A browser that does not tell is given a second.
  function measure(lane) {
    const { video } = lane;
    const told = new Promise((resolve) => {
      const look = (_, { mediaTime }) => {
        if (mediaTime > 0) resolve(Math.round(video.duration / (video.duration - mediaTime)));
        else video.requestVideoFrameCallback(look);
      };
      video.requestVideoFrameCallback?.(look);
      video.currentTime = Math.max(0, video.duration - 0.001);
    });
    const late = new Promise((resolve) => { setTimeout(resolve, 1000, 0); });
    return Promise.race([told, late]).then((frames) => {
      if (frames > 1) lane.frames = Math.min((lane.episode.length ?? frames) + 1, frames);
      lane.ready = true;
      seek(lane);
      if (playing) start(lane);
    });
  }

  function every(lane) {
    return Math.max(1, Math.ceil(lane.episode.length / Math.max(1, lane.frames - 1)));
  }

  function timeOf(lane, at) {
    const frame = at >= lane.episode.length ? lane.frames - 1 : Math.floor(at / every(lane));
    return ((frame + 0.5) * lane.video.duration) / lane.frames;
  }

  function stepOf(lane) {
    const frame = Math.floor((lane.video.currentTime * lane.frames) / lane.video.duration + 1e-6);
    return Math.min(lane.episode.length, frame * every(lane));
  }

  function seek(lane) {
    if (lane.ready) lane.video.currentTime = timeOf(lane, step);
  }

  function go(to) {
    mark(to);
    for (const each of lanes) seek(each);
  }

  function mark(to) {
    step = Math.max(0, Math.min(length, to));
    slider.value = step;
    slider.setAttribute("aria-valuetext", `step ${step} of ${length}`);
    controls.querySelector(".step").textContent = `step ${step} of ${length}`;
    for (const strip of strips) strip.show(step);
  }

  function frame(direction) {
    if (!lanes.length) return;
    pause();
    const size = Math.min(...lanes.map((each) => (each.episode.video ? every(each) : 1)));
    const at = direction > 0 ? Math.floor(step / size) * size + size : Math.ceil(step / size) * size - size;
    go(at);
  }

  // ---------------------------------------------------------------------------------------------------------- playing

  // The longest video leads: its time says which step it is. Without a video, the clock does.
  function leader() {
    const with_video = lanes.filter((each) => each.ready && each.episode.video);
    return with_video.sort((a, b) => b.episode.length - a.episode.length)[0];
  }

  function play() {
    if (!lanes.length || playing) return;
    if (step >= length) go(0);
    playing = true;
    tick = { at: performance.now(), step };
    showPlaying();
    for (const each of lanes) start(each);
    requestAnimationFrame(advance);
  }

  function start({ episode, video, ready }) {
    if (!ready || !episode.video || (episode.length ?? 0) <= step) return;
    video.playbackRate = Number(speed.value);
    video.play().catch(() => {});
  }

  function advance(now) {
    if (!playing) return;
    const first = leader();
    if (first) {
      mark(first.video.ended ? first.episode.length : Math.max(step, stepOf(first)));
      for (const each of lanes) if (each !== first) follow(each, first);
    } else if (lanes.some(({ episode }) => episode.video)) {
      tick = { at: now, step };  // until a video is there
    } else {
      mark(Math.floor(tick.step + ((now - tick.at) / 1000) * STEPS_PER_S * Number(speed.value)));
    }
    const end = Math.max(...lanes.map(({ episode }) => episode.length ?? 0));
    if (step >= end) {
      if (!first) { pause(); return; }
      go(0);
      for (const each of lanes) start(each);
    } else if (first && first.episode.length < length && first.video.ended) {
      pause();
      return;
    }
    requestAnimationFrame(advance);
  }

  // Another video plays by itself, and is corrected if it is more than a few frames away.
  function follow(lane, first) {
    if (!lane.ready || !lane.episode.video || lane.video.seeking || step >= lane.episode.length) return;
    if (Math.abs(lane.video.currentTime - timeOf(lane, step)) > 4 * (first.video.duration / first.frames)) seek(lane);
  }

  function pause() {
    playing = false;
    for (const { video } of lanes) video.pause();
    showPlaying();
  }

  function toggle() {
    if (playing) pause();
    else play();
  }

  function showPlaying() {
    const button = controls.querySelector("[data-do=play]");
    button.textContent = playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", playing ? "Pause" : "Play");
  }

  function setSpeed(direction) {
    const at = SPEEDS.indexOf(Number(speed.value)) + direction;
    if (SPEEDS[at] === undefined) return;
    speed.value = String(SPEEDS[at]);
    changeSpeed();
  }

  function changeSpeed() {
    tick = { at: performance.now(), step };
    for (const { video } of lanes) video.playbackRate = Number(speed.value);
  }

  const actions = { play: toggle, back: () => frame(-1), on: () => frame(1) };
  for (const [name, action] of Object.entries(actions)) controls.querySelector(`[data-do=${name}]`).addEventListener("click", action);
  slider.addEventListener("input", () => { pause(); go(Number(slider.value)); });
  speed.addEventListener("input", changeSpeed);
  const link = player.querySelector(".link");
  link.addEventListener("click", () => page.copy(location.href, link));

  return { show, renew, toggle, frame, setSpeed, copyLink: () => link.click(), get controls() { return controls; } };
})();
