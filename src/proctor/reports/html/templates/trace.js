
// Traces: what episodes recorded at each step, from the page itself or from the server, and drawings of them.
const traces = (() => {
  const WIDTH = 1000;
  const GAP = 65535;
  const SVG = "http://www.w3.org/2000/svg";
  const MOST_POINTS = 1500;
  let embedded = null;

  // Returns the trace of an episode, null if there is none; the page's own traces are only parsed if they are needed.
  async function of(episode) {
    const address = page.data.runs[episode.run].traces[episode.task];
    if (address !== undefined) {
      const answer = await fetch(`${address}${episode.episode}/trace`, { cache: "no-store" }).catch(() => null);
      return answer?.ok ? decode(await answer.json()) : null;
    }
    const held = document.getElementById("trace-data");
    if (held === null) return null;
    embedded ??= JSON.parse(held.textContent);
    const { suite, task_id } = page.data.tasks[episode.task];
    const found = embedded[`${episode.run} ${suite} ${task_id} ${episode.episode}`];
    return found ? decode(found) : null;
  }

  function decode(trace) {
    if (trace === null) return null;
    const bytes = Uint8Array.from(atob(trace.data), (char) => char.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const channels = trace.channels.map(([name, low, high], channel) => {
      const values = Array.from({ length: trace.length }, (_, step) => {
        const number = view.getUint16(2 * (channel * trace.length + step), true);
        const part = number / (GAP - 1);
        return number === GAP ? null : low * (1 - part) + high * part;
      });
      return { name, low, high, values };
    });
    return { length: trace.length, channels };
  }

  function svg(tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  // Draws a channel of one or two episodes on one scale. `length` is the number of steps of the whole width.
  function strip(name, lines, length) {
    const both = name === "success" ? [0, 1] : [];  // else never and always would look alike
    const low = Math.min(...both, ...lines.map((line) => line.low));
    const high = Math.max(...both, ...lines.map((line) => line.high));
    const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} 100`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const { values, look } of [...lines].sort((a, b) => b.values.length - a.values.length)) {
      drawing.append(svg("path", { d: path(values, low, high, length), class: `trace ${look}`, "vector-effect": "non-scaling-stroke" }));
    }
    const cursor = svg("line", { y1: 0, y2: 100, x1: 0, x2: 0, class: "cursor", "vector-effect": "non-scaling-stroke" });
    drawing.append(cursor);
    const row = page.element("div", null, { className: "strip" });
    const value = page.element("span", null, { className: "value" });
    row.append(page.element("span", name, { className: "name", title: `${number(low)} to ${number(high)}` }), drawing, value);
    return { row, drawing, show: (step) => {
      const x = (WIDTH * step) / Math.max(1, length);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      value.textContent = lines.map((line) => (step > 0 ? number(line.values[step - 1]) : "–")).join("  ");
    } };
  }

  function path(values, low, high, length) {
    const every = Math.max(1, Math.floor(values.length / MOST_POINTS));
    const height = high - low || 1;
    let pen = "M";
    let d = "";
    for (let i = 0; i < values.length; i += every) {
      if (values[i] === null) { pen = "M"; continue; }
      const y = high === low ? 50 : 96 - (92 * (values[i] - low)) / height;
      d += `${pen}${((WIDTH * (i + 1)) / Math.max(1, length)).toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    }
    return d;
  }

  function number(value) {
    return value === null || value === undefined ? "–" : Number(value.toPrecision(3)).toString();
  }

  return { of, strip };
})();
