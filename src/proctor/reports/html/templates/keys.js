
// Single keys, and the sheet that lists them.
(() => {
  const KEPT = "proctor-single-keys";
  const sheet = document.querySelector("dialog.keys");
  const wanted = sheet.querySelector("input");
  const actions = {
    j: () => list.move(1), k: () => list.move(-1), n: () => list.moveToFailure(1), p: () => list.moveToFailure(-1),
    " ": () => panel.toggle(), ",": () => panel.frame(-1), ".": () => panel.frame(1),
    "<": () => panel.setSpeed(-1), ">": () => panel.setSpeed(1),
    "/": () => list.search(), c: () => panel.copyLink(), "?": () => sheet.showModal(),
  };

  // Where a key has a meaning already, it keeps it. The buttons of the table are pressed by Enter.
  function taken({ target, key }) {
    if (target.closest("input:not([type=range]):not([type=checkbox]), select, textarea, dialog[open]")) return true;
    return key === " " && target.closest("button, summary, input, a") && !target.closest(".episodes tbody");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !wanted.checked || !actions[event.key] || taken(event)) return;
    event.preventDefault();
    actions[event.key]();
  });
  try {
    wanted.checked = localStorage.getItem(KEPT) !== "no";
    wanted.addEventListener("input", () => localStorage.setItem(KEPT, wanted.checked ? "yes" : "no"));
  } catch {
    // a browser may refuse a page of a file to keep anything
  }
  document.addEventListener("click", ({ target }) => { if (target.closest?.("nav .help")) sheet.showModal(); });
})();
