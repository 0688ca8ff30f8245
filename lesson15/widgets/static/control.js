const BADGE = {
  running: "running", starting: "running", paused: "skipped", finished: "done",
  killed: "failed", aborted: "failed", cancelled: "skipped", interrupted: "failed",
  busy: "running",
};
const BUTTONS = [
  ["start", "Start", "l15-main"], ["pause", "Pause", ""], ["resume", "Resume", "l15-main"],
  ["cancel", "Cancel", ""], ["kill", "Kill -9", "l15-danger"], ["retry_failed", "Retry failed", ""],
];

function render({ model, el }) {
  const commandOf = (name) => // one button goes on: after a pause, and from the disk
    name === "resume" && model.get("state").status === "paused" ? "unpause" : name;
  const { root, head } = card(el, "");
  const title = head.querySelector(".l15-title");
  const badge = element("span", "l15-badge");
  const speed = element("span", "l15-soft l15-push l15-num");
  head.append(badge, speed);
  const row = element("div", "l15-row");
  const buttons = Object.fromEntries(BUTTONS.map(([name, label, style]) => {
    const button = element("button", style, label);
    button.dataset.command = name;
    button.addEventListener("click", () => {
      model.send({ command: commandOf(name) });
      button.disabled = true; // against a double click, until the kernel tells the new state
      setTimeout(show, 1500);
    });
    row.append(button);
    return [name, button];
  }));
  const bar = element("div", "l15-bar");
  const numbers = element("div");
  const error = element("div", "l15-error");
  root.append(row, bar, numbers, error);

  const show = () => {
    const state = model.get("state");
    title.textContent = `Batch ${state.batch_id}`;
    badge.textContent = state.status;
    badge.style.setProperty("--l15-state", `var(--l15-${BADGE[state.status] || "pending"})`);
    const eta = state.eta === null ? "" : `, ${Math.ceil(state.eta)} s left`;
    speed.textContent = state.rate ? `${state.rate.toFixed(1)} docs/s${eta}` : "";
    for (const [name, button] of Object.entries(buttons)) {
      button.disabled = !state.allowed.includes(commandOf(name));
    }
    buttons.resume.textContent = state.status === "paused" ? "Go on" : "Resume";
    buttons.resume.className = state.status === "finished" ? "" : "l15-main";
    bar.replaceChildren(...["done", "failed", "skipped", "running"].map((name) => {
      const part = element("div");
      part.style.width = `${(100 * (state.counts[name] || 0)) / Math.max(1, state.total)}%`;
      part.style.background = `var(--l15-${name})`;
      return part;
    }));
    numbers.replaceChildren(legend(state.counts));
    error.textContent = state.note;
    error.style.display = state.note ? "" : "none";
  };
  model.on("change:state", show);
  show();
  return () => model.off("change:state", show);
}
export default { render };
