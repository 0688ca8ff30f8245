function render({ model, el }) {
  const { root, head } = card(el, "Checkpoint");
  const when = element("span", "l15-soft");
  const refresh = element("button", "l15-push", "Refresh");
  refresh.addEventListener("click", () => model.send({ refresh: true }));
  head.append(when, refresh);
  const table = element("table");
  const checkpoint = element("pre");
  const records = element("pre");
  const fold = (title, content, isOpen) => {
    const box = element("details");
    box.open = isOpen;
    box.append(element("summary", "", title), content);
    return box;
  };
  root.append(table, fold("checkpoint.json", checkpoint, true),
    fold("the last records of journal.log", records, false));
  const show = () => {
    const content = model.get("content");
    when.textContent = content.summary;
    const header = element("tr");
    for (const [name, style] of [["file", ""], ["bytes", "l15-num"], ["committed", "l15-num"],
      ["what it is", ""]]) header.append(element("th", style, name));
    table.replaceChildren(header, ...content.files.map((file) => {
      const row = element("tr");
      row.append(element("td", "", file.name),
        element("td", "l15-num", file.bytes.toLocaleString()),
        element("td", "l15-num", file.committed === null ? "" : file.committed.toLocaleString()),
        element("td", "l15-soft", file.role));
      return row;
    }));
    checkpoint.textContent = content.checkpoint;
    records.textContent = content.records.join("\n");
  };
  model.on("change:content", show);
  show();
  return () => model.off("change:content", show);
}
export default { render };
