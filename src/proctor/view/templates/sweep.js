"use strict";

// The page of a sweep looks every few seconds for what is new: the training may write another checkpoint at any time.
(() => {
  const LOOK_MS = 3000;
  const PARTS = [".liveness", "#going-on", "#verdict", "#curve", "#checkpoints"];

  async function look() {
    const began = performance.now();
    if (!document.hidden) {
      const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
      if (answer?.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      else document.querySelector(".liveness").textContent = "connection lost; trying again";
    }
    setTimeout(look, Math.max(LOOK_MS, 20 * (performance.now() - began)));
  }

  function show(newer) {
    for (const part of PARTS) {
      const [before, after] = [document.querySelector(part), newer.querySelector(part)];
      if (before && after && before.outerHTML !== after.outerHTML) before.replaceWith(document.adoptNode(after));
    }
  }

  setTimeout(look, LOOK_MS);
})();
