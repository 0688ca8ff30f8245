function render({ model, el }) {
  const { root, head } = card(el, "Throughput and errors");
  const peak = element("span", "l15-soft l15-push l15-num");
  head.append(peak);
  const surface = canvas(root, 130, (context, width, height) => {
    const series = model.get("series").slice(-60);
    const [left, bottom] = [34, 18];
    context.clearRect(0, 0, width, height);
    context.font = "11px sans-serif";
    const most = Math.max(4, ...series.map(([, done, bad]) => done + bad));
    const y = (value) => (height - bottom) * (1 - value / (most * 1.08));
    context.strokeStyle = color(root, "line");
    context.fillStyle = color(root, "soft");
    for (const part of [0, 0.5, 1]) {
      const value = Math.round(most * part);
      context.beginPath();
      context.moveTo(left, Math.round(y(value)) + 0.5);
      context.lineTo(width, Math.round(y(value)) + 0.5);
      context.stroke();
      context.fillText(`${value}`, 4, y(value) + 4);
    }
    const step = (width - left) / 60;
    series.forEach(([second, done, bad], n) => {
      const x = left + n * step;
      context.fillStyle = color(root, "done");
      context.fillRect(x, y(done), Math.max(1, step - 2), height - bottom - y(done));
      context.fillStyle = color(root, "failed");
      context.fillRect(x, y(done + bad), Math.max(1, step - 2), y(done) - y(done + bad));
      context.fillStyle = color(root, "soft");
      if (second % 10 === 0) context.fillText(`${second} s`, x, height - 4);
    });
    const last = series.at(-1);
    peak.textContent = last ? `${last[1] + last[2]} documents in the last second` : "";
  });
  const errors = element("div", "l15-legend");
  root.append(errors);
  const show = () => {
    surface.redraw();
    const found = Object.entries(model.get("errors"));
    errors.replaceChildren(...found.map(([name, count]) => {
      const item = element("span");
      const mark = element("i");
      mark.style.background = "var(--l15-failed)";
      item.append(mark, `${name} ${count}`);
      return item;
    }));
    if (!found.length) errors.append(element("span", "l15-soft", "no errors"));
  };
  model.on("change:series change:errors", show);
  show();
  return () => { model.off("change:series change:errors", show); surface.release(); };
}
export default { render };
