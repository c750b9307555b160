// Sends one zip by the tus protocol, in pieces; after whatever goes wrong it asks how far it is, and goes on.
"use strict";
const API = "/api/v1";
const PIECE = 16 * 1024 * 1024;
const LONGEST_PAUSE = 30_000;
const form = document.getElementById("upload");
const [button, bar, status] = ["button", "progress", "[role=status]"].map((name) => form.querySelector(name));

class Refusal extends Error {}

async function ask(method, path, options = {}) {
  const answer = await fetch(path, { method, ...options });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const text = [said.error ?? `The service answers ${answer.status}.`, ...(said.problems ?? [])].join(" ");
  // What the service says no to stays no; a busy, broken or resting service may say something else later.
  if (answer.status < 500 && ![409, 423, 429, 460].includes(answer.status)) throw new Refusal(text);
  throw new Error(text);
}

function asJson(body) {
  return { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

function send(path, offset, piece, total) {
  // fetch cannot say how much of a body has gone.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", path);
    request.setRequestHeader("Content-Type", "application/offset+octet-stream");
    request.setRequestHeader("Upload-Offset", String(offset));
    request.setRequestHeader("Tus-Resumable", "1.0.0");
    request.upload.onprogress = (event) => show(offset + event.loaded, total);
    request.onload = () => (request.status === 204 ? resolve() : reject(new Error(`answer ${request.status}`)));
    request.onerror = request.ontimeout = () => reject(new Error("the connection broke"));
    request.send(piece);
  });
}

function show(done, total) {
  bar.hidden = false;
  bar.value = done / total;
  status.textContent = `${Math.floor((100 * done) / total)} % of ${(total / 1048576).toFixed(1)} MiB`;
}

async function offsetOf(path) {
  return Number((await ask("HEAD", path)).headers.get("Upload-Offset"));
}

async function upload(file) {
  const entry = `${API}/entries/${form.dataset.entry}`;
  const given = asJson({ files: [{ name: file.name, length: file.size }] });
  const [found] = (await (await ask("POST", `${entry}/files`, given)).json()).uploads;
  let offset = found.offset;
  let pause = 1000;
  while (offset < file.size) {
    try {
      await send(found.location, offset, file.slice(offset, offset + PIECE), file.size);
      offset = Math.min(offset + PIECE, file.size);
      pause = 1000;
    } catch (error) {
      status.textContent = `Going on in ${Math.round(pause / 1000)} s (${error.message}).`;
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(2 * pause, LONGEST_PAUSE);
      offset = await offsetOf(found.location).catch((problem) => {
        if (problem instanceof Refusal) throw problem;
        return offset;
      });
    }
  }
  await ask("POST", `${entry}/submit`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  try {
    await upload(form.querySelector("input[type=file]").files[0]);
    location.reload();
  } catch (error) {
    status.textContent = error.message;
    button.disabled = false;
  }
});
