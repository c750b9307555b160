// Gives every song of the page its mixer.
"use strict";

const songs = JSON.parse(document.getElementById("songs").textContent);
document.querySelectorAll(".song").forEach((section, index) => {
  const { seconds, stems } = songs[index];
  const scripts = Object.fromEntries(stems.map(({ name, script }) => [name, script]));
  if (stems[0].script !== null) new Mixer(section, seconds, stems, (name) => loadBeside(AUDIO_FOLDER, scripts[name]));
});
