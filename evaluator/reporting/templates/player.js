// Plays the signals of one track in sync: all of the chosen stem run on one clock, and one of them is heard.
"use strict";

const SOURCES = ["mixture", "reference", "estimate", "error", "residual"];
const FADE_SECONDS = 0.015;
const AHEAD_SECONDS = 0.05;

// Scripts beside the page call this with their content; a page from disk may read other files in no other way.
const waitingForAudio = new Map();
function sdxAudio(file, content) {
  waitingForAudio.get(file)?.(content);
}

function loadAudioFile(file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const finish = () => { waitingForAudio.delete(file); script.remove(); };
    waitingForAudio.set(file, (content) => { finish(); resolve(content); });
    script.onerror = () => { finish(); reject(new Error(`${AUDIO_FOLDER}/${file} is not beside this page`)); };
    script.src = `${encodeURIComponent(AUDIO_FOLDER)}/${encodeURIComponent(file)}`;
    document.head.append(script);
  });
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

class Player {
  static context = null; // made at the first click, as browsers ask for it
  static playing = null; // one track is heard at a time

  constructor(audio, seconds, stem) {
    this.audio = audio; // {name: base64 of an Ogg file, or the name of a script beside the page}
    this.seconds = seconds;
    this.stem = stem;
    this.source = "estimate";
    this.buffers = new Map();
    this.voices = new Map(); // name -> {node, gain}, of the signals that are running
    this.offset = 0; // position in seconds where they were, or will be, started
    this.started = null; // the context's time at which they were
    this.wanted = false;
    this.onchange = () => {};
    this.onmessage = () => {};
  }

  get name() {
    return this.source === "mixture" || this.source === "residual" ? this.source : `${this.stem}/${this.source}`;
  }

  get names() {
    return SOURCES.map((source) => (source === "mixture" || source === "residual" ? source : `${this.stem}/${source}`));
  }

  get position() {
    const since = this.started === null ? 0 : Math.max(0, Player.context.currentTime - this.started);
    return Math.min(this.seconds, this.offset + since);
  }

  async buffer(name) {
    if (!this.buffers.has(name)) {
      const entry = this.audio[name];
      const content = entry.endsWith(".js") ? await loadAudioFile(entry) : entry;
      this.buffers.set(name, await Player.context.decodeAudioData(bytes(content).buffer));
    }
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

  // Starts the signals of the chosen stem at the present position; those that were running go on until then.
  async start() {
    const stem = this.stem;
    const names = this.names;
    try {
      if (names.some((name) => !this.buffers.has(name))) this.onmessage("Loading …");
      await Player.context.resume();
      const buffers = await Promise.all(names.map((name) => this.buffer(name)));
      if (!this.wanted || stem !== this.stem) return;
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
    const gain = new GainNode(Player.context, { gain: name === this.name ? 1 : 0 });
    node.connect(gain).connect(Player.context.destination);
    node.start(at, Math.min(position, buffer.duration));
    this.voices.set(name, { node, gain });
    if (name !== "mixture") return;
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

  choose(stem, source) {
    const sameStem = stem === this.stem;
    this.stem = stem;
    this.source = source;
    if (sameStem) this.fade();
    else if (this.wanted) this.start();
    this.onchange();
  }

  fade() {
    const now = Player.context?.currentTime;
    this.voices.forEach(({ gain }, name) => {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setTargetAtTime(name === this.name ? 1 : 0, now, FADE_SECONDS / 3);
    });
  }

  // Gives back the decoded samples, which are large.
  release() {
    this.pause();
    this.buffers.clear();
  }
}
