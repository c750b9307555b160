// Builds the details of a track when they are opened: player, SDR over time, waveforms and spectrograms.
"use strict";

const TITLES = {
  mixture: "mixture", reference: "reference", estimate: "estimate",
  error: "error (reference − estimate)", residual: "residual (mixture − all estimates)",
};
const SOURCE_LABELS = { mixture: "Mixture", reference: "Reference", estimate: "Estimate", error: "Error", residual: "Residual" };
const DASHES = ["", "7 4", "2 4", "9 3 2 3", "12 4", "5 2 1 2"]; // as many as report.css has colours
const HERTZ = [[100, "100"], [1000, "1k"], [10000, "10k"]];
const LOWEST_HZ = 40;
const HIGHEST_HZ = 20000;
const LOWEST_DB = -20; // SDR over time is drawn down to this

function db(value) {
  return `${value.toFixed(2).replace("-", "−")} dB`;
}

function wavePath(base64) {
  const peaks = new Int8Array(bytes(base64).buffer);
  const columns = peaks.length / 2;
  const upper = [];
  const lower = [];
  for (let i = 0; i < columns; i++) {
    lower.push(`${i} ${(100 - peaks[2 * i] / 1.27).toFixed(1)}`);
    upper.push(`${i} ${(99 - peaks[2 * i + 1] / 1.27).toFixed(1)}`);
  }
  const shape = element("path", { d: `M${upper.join("L")}L${lower.reverse().join("L")}Z` });
  return element("svg", { viewBox: `0 0 ${Math.max(columns - 1, 1)} 200`, preserveAspectRatio: "none", "aria-hidden": "true" }, shape);
}

class Details {
  constructor(root, data, index) {
    this.data = data;
    this.heads = [];
    this.views = [];
    this.excerpts = data.excerpts.filter((excerpt) => Object.keys(excerpt.audio).length > 0);
    this.excerpt = this.excerpts[0] ?? null; // the one that can be heard now, if not the whole track can
    this.hasAudio = this.excerpt !== null || Object.keys(data.audio).length > 0;
    this.player = new TrackPlayer(data.audio, data.audio_seconds, data.stems[0].name);
    if (this.excerpt) {
      this.player.sources = SOURCES.filter((source) => source !== "residual");
      this.player.use(this.excerpt);
    }
    this.player.onchange = () => this.update();
    this.player.onmessage = (text) => { this.message.textContent = text || this.note; };
    this.note = this.excerpt ? "Excerpts can be heard: of each stem its worst ten seconds and its median ones." : data.audio_seconds < data.seconds ? `The first ${clock(data.audio_seconds)} of ${clock(data.seconds)} can be heard.` : "";
    root.append(this.controls(index), this.overTime(), ...this.data.stems.flatMap((stem, i) => this.stemViews(stem, i)), ...this.wholeViews());
    this.update();
  }

  controls(index) {
    this.transport = new Transport(this.player);
    this.message = element("p", { class: "message", role: "status" }, this.hasAudio ? this.note : "No audio: the page was written without it.");
    const choose = () => this.choose(this.checked("stem"), this.checked("source"));
    const places = Object.fromEntries(this.excerpts.map((excerpt, i) => [i, this.placeName(excerpt)]));
    this.choices = element("div", { class: "choices" },
      this.choice(index, "source", "Listen to", this.player.sources, SOURCE_LABELS, choose),
      this.choice(index, "stem", "of", this.excerpt ? Object.keys(places) : this.data.stems.map((stem) => stem.name), places, choose));
    const player = element("div", { class: "player", role: "group", "aria-label": "Player" });
    if (this.hasAudio) player.append(this.transport.root, this.choices);
    player.append(this.message);
    return player;
  }

  placeName({ stem, kind, start, sdr }) {
    return `${stem}, ${kind} from ${clock(start).slice(0, -2)}${sdr === null ? "" : ` (${db(sdr)})`}`;
  }

  // value: a stem, or the number of an excerpt.
  choose(value, source) {
    if (!this.excerpt) this.player.choose(value, source);
    else {
      this.useExcerpt(this.excerpts[value]);
      this.player.choose(this.excerpt.stem, source);
    }
  }

  useExcerpt(excerpt) {
    if (excerpt === this.excerpt) return;
    this.excerpt = excerpt;
    this.player.use(excerpt);
  }

  // Goes to a place of the track, or to the excerpt of the chosen stem that is nearest to it.
  seek(seconds) {
    if (!this.excerpt) return this.player.seek(seconds);
    const away = ({ start, seconds: length }) => Math.max(start - seconds, seconds - start - length, 0);
    const ours = this.excerpts.filter((excerpt) => excerpt.stem === this.player.stem);
    this.useExcerpt(ours.reduce((best, each) => (away(each) < away(best) ? each : best)));
    this.player.seek(seconds - this.excerpt.start);
  }

  // A view was clicked.
  show(stem, source) {
    if (!this.excerpt) this.player.choose(stem ?? this.player.stem, source);
    else if (this.player.sources.includes(source)) {
      if (stem !== null && stem !== this.player.stem) this.useExcerpt(this.excerpts.find((excerpt) => excerpt.stem === stem));
      this.player.choose(this.player.stem, source);
    }
  }

  choice(index, kind, legend, names, labels, choose) {
    const segments = element("div", { class: "segments" });
    names.forEach((name) => {
      const input = element("input", { type: "radio", name: `${kind}-${index}`, value: name });
      input.addEventListener("change", choose);
      segments.append(element("label", {}, input, element("span", {}, labels[name] ?? name)));
    });
    return element("fieldset", {}, element("legend", {}, legend), segments);
  }

  checked(kind) {
    return this.choices.querySelector(`input[name^=${kind}-]:checked`).value;
  }

  // A click goes to that place, and on a view also chooses what it shows.
  follow(target, choose = () => {}) {
    const head = element("i", { class: "head" });
    target.append(head);
    this.heads.push(head);
    target.addEventListener("click", (event) => {
      const box = target.getBoundingClientRect();
      const fraction = event.detail === 0 ? null : (event.clientX - box.left) / box.width;
      choose();
      if (fraction !== null) this.seek(fraction * this.data.seconds);
    });
  }

  view(signal, source, stem, colour) {
    const image = element("img", { src: `data:image/png;base64,${signal.spectrogram}`, alt: "" });
    const name = stem === null ? TITLES[source] : `${stem}, ${TITLES[source]}`;
    const button = element("button", { type: "button", class: `view ${colour}`, "aria-label": `${name}: waveform and spectrogram; choose it` }, wavePath(signal.peaks), image);
    HERTZ.forEach(([hertz, text]) => {
      const up = Math.log(hertz / LOWEST_HZ) / Math.log(HIGHEST_HZ / LOWEST_HZ);
      button.append(element("span", { class: "hertz", style: `bottom:calc(${up} * var(--image-height))`, "aria-hidden": "true" }, text));
    });
    this.follow(button, () => this.show(stem, source));
    this.views.push([button, stem, source]);
    return element("figure", { class: "signal" }, element("figcaption", {}, TITLES[source]), button);
  }

  stemViews(stem, index) {
    const heard = stem.sdr.filter((value) => value !== null);
    const spread = heard.length ? `, ${db(Math.min(...heard))} to ${db(Math.max(...heard))} in single seconds` : ", the reference is silent";
    const head = element("div", { class: "stem-head" }, element("h4", {}, stem.name), element("span", { class: "small soft" }, db(this.data.scores[stem.name]) + spread));
    const grid = element("div", { class: "signals" });
    ["reference", "estimate", "error"].forEach((source) => grid.append(this.view(stem[source], source, stem.name, `c-${index % DASHES.length}`)));
    return [head, grid];
  }

  wholeViews() {
    const grid = element("div", { class: "signals two" });
    ["mixture", "residual"].forEach((source) => grid.append(this.view(this.data[source], source, null, "")));
    return [element("div", { class: "stem-head" }, element("h4", {}, "the whole")), grid];
  }

  overTime() {
    const stems = this.data.stems;
    const values = stems.flatMap((stem) => stem.sdr).filter((value) => value !== null).map((value) => Math.max(value, LOWEST_DB));
    const head = element("div", { class: "stem-head" }, element("h4", {}, "SDR in each second"));
    if (!values.length) return element("div", {}, head, element("p", { class: "small soft" }, "No second in which any reference can be heard."));
    const low = Math.floor(Math.min(0, ...values) / 5) * 5;
    const high = Math.ceil(Math.max(5, ...values) / 5) * 5;
    const y = (value) => (100 * (high - Math.max(value, low))) / (high - low);
    const svg = element("svg", { viewBox: `0 0 ${this.data.seconds} 100`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const legend = element("ul", { class: "legend" });
    stems.forEach((stem, index) => {
      const steps = stem.sdr.map((value, second) => {
        if (value === null) return "";
        const joined = second > 0 && stem.sdr[second - 1] !== null;
        return `${joined ? "L" : "M"}${second} ${y(value).toFixed(2)}H${Math.min(second + 1, this.data.seconds)}`;
      });
      svg.append(element("path", { d: steps.join(""), class: `c-${index % DASHES.length}`, "stroke-dasharray": DASHES[index % DASHES.length] }));
      const sample = element("svg", { viewBox: "0 0 26 8", class: `c-${index % DASHES.length}`, "aria-hidden": "true" }, element("path", { d: "M0 4H26", "stroke-dasharray": DASHES[index % DASHES.length] }));
      legend.append(element("li", {}, sample, stem.name));
    });
    const spoken = stems.map((stem) => {
      const heard = stem.sdr.filter((value) => value !== null);
      return heard.length ? `${stem.name} ${db(Math.min(...heard))} to ${db(Math.max(...heard))}` : `${stem.name} silent`;
    });
    const chart = element("div", { class: "over-time", role: "img", "aria-label": `SDR in each second: ${spoken.join(", ")}` });
    const step = (high - low) / 5 > 6 ? 10 : 5;
    for (let level = Math.ceil(low / step) * step; level <= high; level += step) {
      const top = `top:${y(level)}%`;
      chart.append(element("i", { class: level === 0 ? "level zero" : "level", style: top }), element("span", { class: "label", style: top }, `${level}`.replace("-", "−") + (level + step > high ? " dB" : "")));
    }
    const spacing = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((seconds) => this.data.seconds / seconds <= 8) ?? 1800;
    for (let second = 0; second <= 0.97 * this.data.seconds; second += spacing) {
      chart.append(element("span", { class: "second", style: `left:${(100 * second) / this.data.seconds}%` }, clock(second).slice(0, -2)));
    }
    chart.append(svg);
    this.follow(chart);
    return element("div", {}, head, legend, chart);
  }

  update() {
    const { position, stem, source, wanted } = this.player;
    this.transport.update();
    const chosen = this.excerpt ? `${this.excerpts.indexOf(this.excerpt)}` : stem;
    this.heads.forEach((head) => { head.style.left = `${(100 * (this.player.from + position)) / this.data.seconds}%`; });
    this.choices.querySelectorAll("input").forEach((input) => { input.checked = input.value === (input.name.startsWith("stem") ? chosen : source); });
    this.views.forEach(([button, ofStem, ofSource]) => button.classList.toggle("chosen", ofSource === source && (ofStem === null || ofStem === stem)));
    if (wanted && !this.scheduled) {
      this.scheduled = true;
      requestAnimationFrame(() => { this.scheduled = false; this.update(); });
    }
  }
}

// What is in the page, or in a file beside it, which is loaded when it is needed; null if it is not there.
async function detailsText(data) {
  if (!data.dataset.file) return data.textContent;
  data.textContent = "Loading …";
  try {
    const text = new TextDecoder().decode(await loadBeside(AUDIO_FOLDER, data.dataset.file));
    data.textContent = "";
    return text;
  } catch (error) {
    data.textContent = `No sound and no pictures: ${error.message}`;
    return null;
  }
}

document.querySelectorAll("details.track").forEach((track, index) => {
  let details = null;
  let isLoading = false;
  track.addEventListener("toggle", async () => {
    const data = document.getElementById(`data-${index}`);
    if (!data) return;
    if (!track.open) details?.player.release();
    else if (details === null && !isLoading) {
      isLoading = true;
      const text = await detailsText(data);
      isLoading = false;
      if (text !== null) details = new Details(track.querySelector(".details"), JSON.parse(text), index);
    }
  });
});

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target?.matches("details.track")) return;
  target.open = true;
  target.scrollIntoView();
}
window.addEventListener("hashchange", openTarget);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#track-"]');
  if (link && link.hash === location.hash) openTarget();
});
openTarget();
