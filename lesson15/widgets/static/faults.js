function render({ model, el }) {
  const { root, head } = card(el, "Fault console");
  const playing = element("span", "l15-soft");
  head.append(playing);
  const rows = model.get("dials").map(({ name, label, unit, maximum, step }) => {
    const row = element("label", "l15-slider");
    const slider = rangeSlider(label, maximum, step);
    slider.node.dataset.dial = name;
    const value = element("output");
    const fired = element("span", "l15-soft l15-num");
    row.append(element("span", "", label), slider.node, value, fired);
    slider.node.addEventListener("input", () => {
      model.set("levels", { ...model.get("levels"), [name]: Number(slider.node.value) });
      model.save_changes();
    });
    root.append(row);
    return { name, unit, slider, value, fired };
  });
  const row = element("div", "l15-row");
  const scenario = element("select");
  scenario.setAttribute("aria-label", "Scenario");
  scenario.append(...model.get("scenarios").map((name) => element("option", "", name)));
  const play = element("button", "l15-main", "Play");
  const clear = element("button", "", "Clear all");
  play.addEventListener("click", () => model.send({ play: scenario.value }));
  clear.addEventListener("click", () => model.send({ clear: true }));
  row.append(element("span", "l15-soft", "Scenario"), scenario, play, clear);
  row.style.marginTop = "10px";
  root.append(row);
  const note = element("div", "l15-note");
  root.append(note);

  const show = () => {
    const levels = model.get("levels");
    const counts = model.get("fired");
    for (const { name, unit, slider, value, fired } of rows) {
      const level = levels[name] || 0;
      if (Number(slider.node.value) !== level) slider.show(level);
      value.textContent = unit === "%" ? `${Math.round(100 * level)} %` : `${level.toFixed(2)} s`;
      fired.textContent = counts[name] ? `fired ${counts[name]}` : "";
    }
    note.textContent = model.get("note");
  };
  model.on("change:levels change:fired change:note", show);
  show();
  return () => model.off("change:levels change:fired change:note", show);
}
export default { render };
