"use strict";

// Two layers of a scene beside each other over its image, and a line between them that swipes.
(() => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const at = (id) => document.getElementById(id);
  if (!data.scenes.length) return;

  const map = L.map("map", {
    crs: L.CRS.Simple,
    minZoom: -8,
    maxZoom: 5,
    zoomSnap: 0.25,
    attributionControl: false,
    // clipped panes do not follow an animation
    zoomAnimation: false,
    fadeAnimation: false,
  });
  const panes = {};
  ["under", "left", "right"].forEach((name, place) => {
    panes[name] = map.createPane(name);
    panes[name].style.zIndex = 400 + place;
  });
  const shown = {};

  const scene = () => data.scenes[at("scene").value];
  const raster = () => scene().rasters[at("raster").value];
  const layer = (side) => raster().layers[at(side).value];

  function fill(select, options, value) {
    select.replaceChildren(
      ...options.map(([key, text]) => {
        const option = document.createElement("option");
        option.value = key;
        option.textContent = text;
        return option;
      }),
    );
    select.value = value;
  }

  // Rows run down and latitudes up.
  const box = (y, x, height, width) => [
    [-(y + height), x],
    [-y, x + width],
  ];
  const whole = () => box(0, 0, raster().height, raster().width);

  function show(side, one) {
    if (shown[side]) shown[side].remove();
    shown[side] = L.imageOverlay(one.data, whole(), { pane: side, alt: one.name, interactive: false });
    shown[side].addTo(map);
  }

  function swipe() {
    const share = at("swipe").value / 1000;
    const size = map.getSize();
    const corner = map.containerPointToLayerPoint([0, 0]);
    const end = map.containerPointToLayerPoint(size);
    const middle = corner.x + share * size.x;
    const clip = (from, to) =>
      `polygon(${from}px ${corner.y}px, ${to}px ${corner.y}px, ${to}px ${end.y}px, ${from}px ${end.y}px)`;
    panes.left.style.clipPath = clip(corner.x, middle);
    panes.right.style.clipPath = clip(middle, end.x);
    at("divider").style.left = `${share * 100}%`;
  }

  function fade() {
    for (const side of ["left", "right"]) panes[side].style.opacity = at("opacity").value / 100;
  }

  function mark(text, background, isScale) {
    const entry = document.createElement("span");
    const patch = document.createElement("i");
    patch.style.background = background;
    if (isScale) patch.className = "scale";
    entry.append(patch, text);
    return entry;
  }

  function legend() {
    const kinds = new Set([layer("left").kind, layer("right").kind]);
    const entries = [];
    if (kinds.has("classes")) entries.push(...data.classes.map((one) => mark(one.name, one.color)));
    if (kinds.has("errors")) entries.push(mark("wrong", data.wrong));
    const words = { depth: "pseudo-depth, low to high", confidence: "confidence, 0 to 100 %" };
    for (const [kind, text] of Object.entries(words)) {
      const stops = data.scales[kind].join(", ");
      if (kinds.has(kind)) entries.push(mark(text, `linear-gradient(to right, ${stops})`, true));
    }
    at("legend").replaceChildren(...entries);
  }

  function draw() {
    show("left", layer("left"));
    show("right", layer("right"));
    legend();
    swipe();
  }

  // Blocks to look at are those of the experiment on the right, in any image of the scene.
  function places(value) {
    const experiment = layer("right").experiment;
    const here = (one) => one.experiment === experiment && one.scene === scene().name;
    const found = data.windows.map((one, index) => [index, one]).filter(([, one]) => here(one));
    const named = found.map(([index, one]) => {
      const image = scene().rasters.length > 1 ? `, ${rasterOf(one).name}` : "";
      return [index, `${one.kind}, OA ${one.oa.toFixed(2)}${image}`];
    });
    const text = scene().rasters.length > 1 ? "the whole image" : "the whole scene";
    fill(at("place"), [["whole", text], ...named], value);
  }

  const rasterOf = (one) => scene().rasters.find(({ index }) => index === one.raster);

  function look() {
    const one = data.windows[at("place").value];
    map.fitBounds(one ? box(one.y, one.x, one.height, one.width) : whole());
  }

  function go() {
    const place = at("place").value;
    const one = data.windows[place];
    const number = one ? scene().rasters.indexOf(rasterOf(one)) : Number(at("raster").value);
    if (number === Number(at("raster").value)) look();
    else {
      at("raster").value = number;
      open(place);
    }
  }

  function enter() {
    const rasters = scene().rasters;
    fill(at("raster"), rasters.map((one, index) => [index, one.name]), 0);
    at("raster").parentElement.hidden = rasters.length < 2;
    open("whole");
  }

  function open(place) {
    const layers = raster().layers.map((one, index) => [index, one.name]);
    const names = layers.map(([, name]) => name);
    const kept = (side, otherwise) => {
      const last = at(side).selectedOptions[0];
      return last && names.includes(last.textContent) ? names.indexOf(last.textContent) : otherwise;
    };
    const last = raster().layers.findLastIndex((one) => one.kind === "classes");
    const [left, right] = [kept("left", 1), kept("right", last)];
    fill(at("left"), layers, left);
    fill(at("right"), layers, right);
    places(place);
    look();
    show("under", raster().layers[0]);
    draw();
  }

  fill(at("scene"), data.scenes.map((one, index) => [index, one.name]), 0);
  at("scene").addEventListener("change", enter);
  at("raster").addEventListener("change", () => open("whole"));
  at("left").addEventListener("change", draw);
  at("right").addEventListener("change", () => {
    const wasAt = at("place").value;
    places("whole");
    // the block that one was at is none of this map's
    if (wasAt !== "whole") look();
    draw();
  });
  at("place").addEventListener("change", go);
  at("opacity").addEventListener("input", fade);
  at("swipe").addEventListener("input", swipe);
  map.on("move zoom viewreset resize", swipe);

  const divider = at("divider");
  divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const frame = at("frame").getBoundingClientRect();
    at("swipe").value = (1000 * (event.clientX - frame.left)) / frame.width;
    swipe();
  });
  enter();
})();
