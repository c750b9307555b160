// Songs are dropped, sent, followed, heard and saved.
"use strict";

const POLL_MILLISECONDS = 700;
const ASIDE_MILLISECONDS = 5000; // while nothing is under way
const WORDS = { arriving: "arriving", waiting: "waiting for its turn", working: "separating" };
const drop = document.getElementById("drop");
const list = document.getElementById("songs");
const problem = document.getElementById("problem");
const views = new Map(); // id -> SongView
let sending = Promise.resolve(); // one song is sent at a time
let timer = null;

function left(seconds) {
  return seconds === null ? "" : `, ${Math.floor(Math.round(seconds) / 60)}:${String(Math.round(seconds) % 60).padStart(2, "0")} left`;
}

class SongView {
  constructor(name) {
    this.title = element("h2", {}, name);
    this.button = element("button", { type: "button" }, "Cancel");
    this.bar = element("progress", { max: 1, value: 0, "aria-label": `${name}: progress` });
    this.state = element("p", { class: "small soft" });
    this.reason = element("p", { class: "reason" });
    this.root = element("section", { class: "song", "aria-label": name }, element("div", { class: "song-head" }, this.title, this.button), this.bar, this.state, this.reason);
    this.onremove = () => {};
    this.button.addEventListener("click", () => this.onremove());
    list.prepend(this.root);
  }

  show(song) {
    const active = song.state in WORDS;
    this.button.textContent = active ? "Cancel" : "Remove";
    this.bar.hidden = !active;
    if (song.state === "working" && song.fraction === 0) this.bar.removeAttribute("value");
    else this.bar.value = song.fraction;
    this.state.textContent = active ? `${WORDS[song.state]}${song.state === "working" && song.fraction ? (song.fraction < 1 ? ` ${Math.floor(100 * song.fraction)} %` : "; copies to be played are made") : ""}${left(song.seconds_left)}` : "";
    this.reason.className = song.state === "failed" ? "reason bad" : "reason small soft";
    this.reason.textContent = song.state === "failed" ? `It could not be separated: ${song.reason}` : song.notes.join("; ");
    if (song.state === "done" && !this.mixer) this.showStems(song);
  }

  showStems(song) {
    const at = `songs/${encodeURIComponent(song.id)}`;
    const links = song.stems.map((name) => ({ name, link: `${at}/stems/${encodeURIComponent(name)}` }));
    if (song.plays) {
      this.mixer = new Mixer(this.root, song.seconds, links, async (name) => {
        const answer = await fetch(`${at}/listen/${encodeURIComponent(name)}`);
        if (!answer.ok) throw new Error((await answer.json()).error);
        return answer.arrayBuffer();
      });
    } else {
      this.mixer = { player: { release() {} } };
      this.root.append(element("p", { class: "notice" }, "Its stems: ", ...links.flatMap(({ name, link }) => [element("a", { href: link, download: "" }, name), " "])));
    }
    this.root.append(element("p", { class: "all" }, element("a", { href: `${at}/stems.zip`, download: "" }, "Save all as a zip")));
  }

  remove() {
    this.mixer?.player.release();
    this.root.remove();
  }
}

// The answer of a request, or an error in words.
async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The studio does not answer: has it ended?");
  }
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `It answers ${answer.status}.`);
  return answer.status === 204 ? null : answer.json();
}

async function poll() {
  clearTimeout(timer);
  let songs = [];
  try {
    songs = await ask("songs");
    if (problem.dataset.of === "poll") say("");
  } catch (error) {
    say(error.message, "poll");
    timer = setTimeout(poll, ASIDE_MILLISECONDS);
    return;
  }
  const ids = new Set(songs.map((song) => song.id));
  views.forEach((view, id) => { if (!ids.has(id)) { view.remove(); views.delete(id); } });
  songs.filter((song) => song.state !== "arriving").forEach((song) => {
    if (!views.has(song.id)) adopt(new SongView(song.name), song.id);
    views.get(song.id).show(song);
  });
  const active = songs.some((song) => song.state in WORDS);
  timer = setTimeout(poll, active ? POLL_MILLISECONDS : ASIDE_MILLISECONDS);
}

function adopt(view, id) {
  views.set(id, view);
  view.onremove = async () => {
    view.button.disabled = true;
    try {
      await ask(`songs/${encodeURIComponent(id)}`, { method: "DELETE" });
    } catch (error) {
      say(error.message);
    }
    poll();
  };
}

function say(text, of = "") {
  problem.textContent = text;
  problem.dataset.of = of;
}

// Sends a file, whose view shows how much of it is there.
function send(file, view) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    view.onremove = () => { request.abort(); view.remove(); resolve(); };
    request.upload.onprogress = (event) => {
      view.bar.value = event.loaded / event.total;
      view.state.textContent = `arriving ${Math.floor((100 * event.loaded) / event.total)} %`;
    };
    const fail = (reason) => {
      view.show({ state: "failed", reason, notes: [], fraction: 0, seconds_left: null });
      view.onremove = () => view.remove();
      resolve();
    };
    request.onerror = () => fail("it could not be sent to the studio: has it ended?");
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* no answer of the studio's */ }
      if (request.status !== 201) return fail(answer.error ?? `the studio answers ${request.status}`);
      adopt(view, answer.id);
      poll();
      return resolve();
    };
    request.open("POST", `songs?name=${encodeURIComponent(file.name)}`);
    request.send(file);
  });
}

function take(files) {
  say("");
  [...files].forEach((file) => {
    const view = new SongView(file.name);
    view.state.textContent = "waiting to be sent";
    let wanted = true;
    view.onremove = () => { wanted = false; view.remove(); };
    sending = sending.then(() => (wanted ? send(file, view) : undefined));
  });
}

["dragover", "dragenter"].forEach((name) => document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); }));
["dragleave", "drop"].forEach((name) => document.addEventListener(name, () => drop.classList.remove("over")));
document.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files); });
document.getElementById("files").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
poll();
