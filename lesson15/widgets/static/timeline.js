// Spans are [lane, start, end, state code]; times are seconds since the run began.
export default () => {
  const kept = { spans: [], open: [], now: 0, received: 0 }; // one for each model, shared by its views
  function initialize({ model }) {
      model.on("msg:custom", (message) => {
      kept.spans = message.all ? message.spans : kept.spans.concat(message.spans).slice(-2000);
      kept.open = message.open;
      kept.now = message.now;
      kept.received = message.open.length ? performance.now() : 0;
    });
    model.send({ t: "ready" });
  }

  function render({ model, el }) {
    const { root, head } = card(el, "Workers");
    head.append(element("span", "l15-soft", "one bar for each document, the last 20 seconds"));
    const WINDOW = 20;
    const surface = canvas(root, 120, (context, width, height) => {
      const { spans, open, now, received } = kept;
      const end = received ? now + (performance.now() - received) / 1000 : now;
      const left = 30;
      const start = Math.max(0, end - WINDOW);
      const lanes = 1 + Math.max(0, ...spans.map((s) => s[0]), ...open.map((s) => s[0]));
      const laneHeight = 18;
      const wanted = lanes * laneHeight + 22;
      if (wanted !== height) { surface.setHeight(wanted); return; }
      const x = (time) => left + ((time - start) / WINDOW) * (width - left - 4);
      context.clearRect(0, 0, width, height);
      context.font = "11px sans-serif";
      context.textBaseline = "middle";
      for (let lane = 0; lane < lanes; lane += 1) {
        context.fillStyle = color(root, "field");
        context.fillRect(left, lane * laneHeight + 1, width - left, laneHeight - 3);
        context.fillStyle = color(root, "soft");
        context.fillText(`${lane + 1}`, 8, lane * laneHeight + laneHeight / 2);
      }
      const colors = STATES.map((state) => color(root, state));
      const bar = (lane, from, to, code) => {
        const a = Math.max(left, x(from));
        context.fillStyle = colors[code];
        context.fillRect(a, lane * laneHeight + 2, Math.max(1.5, x(to) - a - 1), laneHeight - 5);
      };
      for (const [lane, from, to, code] of spans) if (to >= start) bar(lane, from, to, code);
      for (const [lane, from] of open) bar(lane, from, end, 1);
      context.fillStyle = color(root, "soft");
      for (let second = Math.ceil(start / 5) * 5; second <= start + WINDOW; second += 5) {
        context.fillText(`${second} s`, Math.min(x(second), width - 28), height - 9);
      }
    });
    const timer = setInterval(() => { if (kept.received) surface.redraw(); }, 100);
    const receive = () => surface.redraw();
    model.on("msg:custom", receive);
    surface.redraw();
    return () => { clearInterval(timer); model.off("msg:custom", receive); surface.release(); };
  }
  return { initialize, render };
};
