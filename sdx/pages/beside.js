// Audio in scripts beside the page, which call sdxAudio with their content: a page from disk may read other files in
// no other way.
"use strict";

const waitingForAudio = new Map();
function sdxAudio(file, content) {
  waitingForAudio.get(file)?.(content);
}

// The bytes of an audio file that such a script holds.
function loadBeside(folder, file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const finish = () => { waitingForAudio.delete(file); script.remove(); };
    waitingForAudio.set(file, (content) => { finish(); resolve(bytes(content).buffer); });
    script.onerror = () => { finish(); reject(new Error(`${folder}/${file} is not beside this page`)); };
    script.src = `${encodeURIComponent(folder)}/${encodeURIComponent(file)}`;
    document.head.append(script);
  });
}
