// Browsers start no worker for a page that was opened from disk. There the script of the search runs in a hidden frame.
(() => {
  if (location.protocol !== "file:") return;
  const loaded = (element) => new Promise((resolve, reject) => {
    element.addEventListener("load", resolve);
    element.addEventListener("error", reject);
  });
  const run = (frame, src) => {
    const script = Object.assign(frame.contentDocument.createElement("script"), { src });
    frame.contentDocument.body.append(script);
    return loaded(script);
  };
  // The search's script looks for this name in the window around it.
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(src) {
      super();
      this.frame = Object.assign(document.createElement("iframe"), { hidden: true, srcdoc: "<!doctype html><body>" });
      document.body.append(this.frame);
      this.ready = loaded(this.frame).then(() => {
        const inside = this.frame.contentWindow;
        inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        inside.importScripts = (...all) => Promise.all(all.map((each) => run(this.frame, each)));
        return run(this.frame, src);
      });
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
})();
