// Plays signals in sync: all of them run on one clock, each at a level of its own.
"use strict";

const FADE_SECONDS = 0.015;
const AHEAD_SECONDS = 0.05;

class Player {
  static context = null; // made at the first click, as browsers ask for it
  static playing = null; // one player is heard at a time

  constructor(load, seconds) {
    this.load = load; // name -> promise of the bytes of an audio file
    this.seconds = seconds;
    this.buffers = new Map();
    this.voices = new Map(); // name -> {node, gain}, of the signals that are running
    this.offset = 0; // position in seconds where they were, or will be, started
    this.started = null; // the context's time at which they were
    this.starts = 0;
    this.from = 0; // what the clock shows at its beginning, in seconds
    this.wanted = false;
    this.onchange = () => {};
    this.onmessage = () => {};
  }

  // Which signals run together, and how loud each of them is; what extends this says so.
  get names() { return []; }
  level(name) { return 1; }

  get position() {
    const since = this.started === null ? 0 : Math.max(0, Player.context.currentTime - this.started);
    return Math.min(this.seconds, this.offset + since);
  }

  async buffer(name) {
    if (!this.buffers.has(name)) this.buffers.set(name, await Player.context.decodeAudioData(await this.load(name)));
    return this.buffers.get(name);
  }

  async play() {
    Player.context ??= new AudioContext();
    if (Player.playing !== this) Player.playing?.pause();
    Player.playing = this;
    this.wanted = true;
    if (this.position >= this.seconds) this.offset = 0;
    this.onchange();
    await this.start();
  }

  // Starts the signals at the present position; those that were running go on until then.
  async start() {
    const turn = ++this.starts;
    const names = this.names;
    try {
      if (names.some((name) => !this.buffers.has(name))) this.onmessage("Loading …");
      await Player.context.resume();
      const buffers = await Promise.all(names.map((name) => this.buffer(name)));
      if (!this.wanted || turn !== this.starts) return;
      const at = Player.context.currentTime + AHEAD_SECONDS;
      const position = this.started === null ? this.offset : this.position + AHEAD_SECONDS;
      this.stop(at);
      names.forEach((name, index) => this.startVoice(name, buffers[index], at, position));
      this.offset = position;
      this.started = at;
      this.onmessage("");
    } catch (error) {
      this.wanted = false;
      this.onmessage(`Cannot be played: ${error.message}`);
    }
    this.onchange();
  }

  startVoice(name, buffer, at, position) {
    const node = new AudioBufferSourceNode(Player.context, { buffer });
    const gain = new GainNode(Player.context, { gain: this.level(name) });
    node.connect(gain).connect(Player.context.destination);
    node.start(at, Math.min(position, buffer.duration));
    this.voices.set(name, { node, gain });
    if (name !== this.names[0]) return;
    node.onended = () => {
      if (this.voices.get(name)?.node === node && this.position >= this.seconds - AHEAD_SECONDS) this.pause();
    };
  }

  stop(at) {
    this.voices.forEach(({ node }) => node.stop(at));
    this.voices.clear();
  }

  pause() {
    this.offset = this.position;
    this.started = null;
    this.wanted = false;
    if (Player.context) this.stop(Player.context.currentTime);
    this.onchange();
  }

  seek(position) {
    this.offset = Math.max(0, Math.min(position, this.seconds));
    const running = this.started !== null;
    this.started = null;
    if (running) this.start();
    this.onchange();
  }

  // Brings what is running to the present levels.
  fade() {
    const now = Player.context?.currentTime;
    this.voices.forEach(({ gain }, name) => {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setTargetAtTime(this.level(name), now, FADE_SECONDS / 3);
    });
  }

  // Gives back the decoded samples, which are large.
  release() {
    this.pause();
    this.buffers.clear();
  }
}

// A button, a slider and the time, which follow a player.
class Transport {
  constructor(player) {
    this.player = player;
    this.button = element("button", { type: "button" });
    this.button.addEventListener("click", () => (player.wanted ? player.pause() : player.play()));
    this.slider = element("input", { type: "range", min: 0, max: player.seconds, step: "any", value: 0, "aria-label": "Position" });
    this.slider.addEventListener("input", () => player.seek(Number(this.slider.value)));
    this.output = element("output");
    this.root = element("div", { class: "transport" }, this.button, this.slider, this.output);
  }

  update() {
    const { position, seconds, from, wanted } = this.player;
    this.button.textContent = wanted ? "❚❚" : "▶";
    this.button.setAttribute("aria-label", wanted ? "Pause" : "Play");
    this.slider.max = seconds;
    this.slider.value = position;
    this.slider.setAttribute("aria-valuetext", `${clock(from + position)} of ${clock(from + seconds)}`);
    this.output.textContent = `${clock(from + position)} / ${clock(from + seconds)}`;
  }
}
