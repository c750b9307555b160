// Stems of a recording side by side: each can be heard alone, muted, made softer, and saved.
"use strict";

class StemPlayer extends Player {
  constructor(load, seconds, stems) {
    super(load, seconds);
    this.stems = stems;
    this.muted = new Set();
    this.soloed = new Set();
    this.volumes = new Map();
  }

  get names() { return this.stems; }

  level(name) {
    const off = this.soloed.size ? !this.soloed.has(name) : this.muted.has(name);
    return off ? 0 : this.volumes.get(name) ?? 1;
  }

  toggle(names, name) {
    if (!names.delete(name)) names.add(name);
    this.fade();
    this.onchange();
  }

  setVolume(name, level) {
    this.volumes.set(name, level);
    this.fade();
  }
}

class Mixer {
  // stems: [{name, link}], link: where its file is. load: name -> promise of bytes that can be decoded.
  constructor(root, seconds, stems, load) {
    this.player = new StemPlayer(load, seconds, stems.map((stem) => stem.name));
    this.player.onchange = () => this.update();
    this.player.onmessage = (text) => { this.message.textContent = text; };
    this.transport = new Transport(this.player);
    this.message = element("p", { class: "message", role: "status" });
    this.rows = stems.map((stem, index) => this.row(stem, index));
    root.append(this.transport.root, element("div", { class: "mixer" }, ...this.rows.map((row) => row.root)), this.message);
    this.update();
  }

  row({ name, link }, index) {
    const { player } = this;
    const mute = this.toggle("Mute", name, player.muted);
    const solo = this.toggle("Solo", name, player.soloed);
    const volume = element("input", { type: "range", min: 0, max: 1, step: "any", value: 1, "aria-label": `${name}: volume` });
    volume.addEventListener("input", () => player.setVolume(name, Number(volume.value)));
    const save = element("a", { href: link, download: "", "aria-label": `${name}: save` }, "Save");
    const root = element("div", { class: `strip-of-stem c-${index % 6}`, role: "group", "aria-label": name }, element("span", { class: "stem-name" }, name), mute, solo, volume, save);
    return { root, mute, solo, name };
  }

  toggle(text, name, names) {
    const button = element("button", { type: "button", "aria-label": `${name}: ${text.toLowerCase()}` }, text);
    button.addEventListener("click", () => this.player.toggle(names, name));
    return button;
  }

  update() {
    const { player } = this;
    this.transport.update();
    this.rows.forEach(({ root, mute, solo, name }) => {
      mute.setAttribute("aria-pressed", player.muted.has(name));
      solo.setAttribute("aria-pressed", player.soloed.has(name));
      root.classList.toggle("off", player.level(name) === 0);
    });
    if (player.wanted && !this.scheduled) {
      this.scheduled = true;
      requestAnimationFrame(() => { this.scheduled = false; this.update(); });
    }
  }
}
