// The kernel sends custom messages: "all" with every state (one byte each), then "some" with the
// places (uint32) and states (uint8) that changed. The model keeps them for its views.
export default () => {
  const kept = { codes: new Uint8Array(0), ids: [] }; // one for each model, shared by its views
  function initialize({ model }) {
      model.on("msg:custom", (message, buffers) => {
      if (message.t === "all") {
        kept.ids = message.ids;
        kept.codes = bytes(buffers[0]).slice();
      } else if (message.t === "some") {
        const places = new Uint32Array(bytes(buffers[0]).slice().buffer);
        const values = bytes(buffers[1]);
        places.forEach((place, n) => { kept.codes[place] = values[n]; });
      }
    });
    model.send({ t: "ready" });
  }

  function render({ model, el }) {
    const { root, head } = card(el, "Documents");
    const total = element("span", "l15-soft");
    head.append(total);
    const grid = documentGrid(root);
    const note = element("div", "l15-note", "Point at a cell to see its document; click for more.");
    const numbers = element("div");
    root.append(note, numbers);
    const count = () => {
      total.textContent = `${grid.codes.length}`;
      numbers.replaceChildren(legend(grid.counts()));
    };
    const receive = (message, buffers) => {
      if (message.t === "all") grid.replace(bytes(buffers[0]));
      else if (message.t === "some") {
        grid.update(new Uint32Array(bytes(buffers[0]).slice().buffer), bytes(buffers[1]));
      } else if (message.t === "detail") { note.textContent = message.text; return; }
      count();
    };
    grid.surface.node.addEventListener("mousemove", (event) => {
      const place = grid.placeAt(event);
      if (place !== null) note.textContent = `${kept.ids[place]}: ${STATES[grid.codes[place]]}`;
    });
    grid.surface.node.addEventListener("click", (event) => {
      const place = grid.placeAt(event);
      if (place !== null) model.send({ t: "detail", place });
    });
    model.on("msg:custom", receive);
    grid.replace(kept.codes);
    count();
    return () => { model.off("msg:custom", receive); grid.surface.release(); };
  }
  return { initialize, render };
};
