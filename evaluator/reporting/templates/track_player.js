// Plays one track: all signals of the chosen stem run, and one of them is heard.
"use strict";

const SOURCES = ["mixture", "reference", "estimate", "error", "residual"];

class TrackPlayer extends Player {
  // audio: {name: base64 of an Ogg file, or the name of a script beside the page}
  constructor(audio, seconds, stem) {
    super((name) => (this.audio[name].endsWith(".js") ? loadBeside(AUDIO_FOLDER, this.audio[name]) : bytes(this.audio[name]).buffer), seconds);
    this.audio = audio;
    this.stem = stem;
    this.source = "estimate";
    this.sources = SOURCES; // those that there are
  }

  // Turns to a part of the track: its own sound, and where on the track's clock that begins.
  use({ audio, start, seconds, stem }) {
    const goesOn = this.wanted;
    this.release();
    Object.assign(this, { audio, seconds, stem, from: start, offset: 0 });
    if (goesOn) this.play();
  }

  nameOf(source) {
    return source === "mixture" || source === "residual" ? source : `${this.stem}/${source}`;
  }

  get names() { return this.sources.map((source) => this.nameOf(source)); }
  level(name) { return name === this.nameOf(this.source) ? 1 : 0; }

  choose(stem, source) {
    const sameStem = stem === this.stem;
    this.stem = stem;
    this.source = source;
    if (sameStem) this.fade();
    else if (this.wanted) this.start();
    this.onchange();
  }
}
