function render({ model, el }) {
  const { root, head } = card(el, "Replay");
  const where = element("span", "l15-soft l15-push l15-num");
  head.append(where);
  const row = element("div", "l15-row");
  const slider = rangeSlider("Event", model.get("length"), 1);
  slider.node.style.flex = "1 1 300px";
  const play = element("button", "l15-main", "Play");
  row.append(play, slider.node);
  root.append(row);
  const event = element("div", "l15-note");
  root.append(event);
  const grid = documentGrid(root);
  const numbers = element("div");
  numbers.style.marginTop = "6px";
  root.append(numbers);
  const go = (place) => { model.set("event", place); model.save_changes(); };
  slider.node.addEventListener("input", () => go(Number(slider.node.value)));
  let timer = null;
  play.addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = null; play.textContent = "Play"; return; }
    play.textContent = "Stop";
    const step = Math.max(1, Math.round(model.get("length") / 80));
    if (model.get("event") >= model.get("length")) go(0);
    timer = setInterval(() => {
      const next = Math.min(model.get("length"), model.get("event") + step);
      go(next);
      if (next >= model.get("length")) play.click();
    }, 100);
  });
  const show = () => {
    slider.show(model.get("event"));
    where.textContent = `event ${model.get("event")} of ${model.get("length")}`;
    event.textContent = model.get("text");
    grid.replace(bytes(model.get("codes")));
    numbers.replaceChildren(legend(grid.counts()));
  };
  model.on("change:event change:codes change:text", show);
  show();
  return () => {
    clearInterval(timer);
    model.off("change:event change:codes change:text", show);
    grid.surface.release();
  };
}
export default { render };
