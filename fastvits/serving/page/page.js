"use strict";
// Asks for 24 kHz PCM in server-sent events, plays it while it comes, and marks each word while it is heard.
const RATE = 24000;
const $ = (id) => document.getElementById(id);
let speech = null; // what is being spoken

function say(message, fault = false) {
  $("status").textContent = message;
  $("status").classList.toggle("fault", fault);
}

function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function faultOf(response) {
  try { return (await response.json()).error.message; } catch { return `the server answers ${response.status}`; }
}

async function listVoices() {
  const response = await fetch("v1/audio/voices", { headers: headers() });
  if (response.status === 401) {
    $("key-row").hidden = false;
    say("This server wants a key.");
    return;
  }
  if (!response.ok) return say(await faultOf(response), true);
  const chosen = $("voice").value;
  const { voices } = await response.json();
  $("voice").replaceChildren(...voices.map(({ id, name }) => new Option(name, id)));
  if (chosen) $("voice").value = chosen;
  say("");
}

function request() {
  const asked = { model: "fastvits", input: $("text").value, voice: $("voice").value, response_format: "pcm",
    stream_format: "sse", timestamps: true, speed: Number($("speed").value) };
  const seed = $("seed").value.trim();
  const speaker = $("speaker").value.trim();
  if (seed) asked.seed = Number(seed);
  if (speaker) asked.speaker = speaker;
  return asked;
}

async function* events(body) {
  const decoder = new TextDecoder();
  let rest = "";
  for (const reader = body.getReader(); ;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield JSON.parse(part.slice(6));
  }
}

function samplesOf(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const integers = new Int16Array(bytes.buffer, 0, bytes.length >> 1);
  return Float32Array.from(integers, (x) => x / 32768);
}

function play(one, samples) {
  one.parts.push(samples);
  one.length += samples.length;
  const buffer = one.audio.createBuffer(1, samples.length, RATE);
  buffer.copyToChannel(samples, 0);
  const source = one.audio.createBufferSource();
  source.buffer = buffer;
  source.connect(one.audio.destination);
  if (one.begun === null) one.begun = one.audio.currentTime + 0.05;
  // Where the network was late, what follows begins later, and so do the words.
  const at = one.begun + one.scheduled;
  const late = Math.max(one.audio.currentTime - at, 0);
  one.begun += late;
  source.start(at + late);
  one.scheduled += samples.length / RATE;
}

// Seconds of the speech that were heard; where the network is late, it stands still.
function heard(one) {
  return one.begun === null ? -1 : Math.min(one.audio.currentTime - one.begun, one.scheduled);
}

function draw(one) {
  const canvas = $("wave"), ink = getComputedStyle(document.body);
  const width = canvas.width = canvas.clientWidth * devicePixelRatio;
  const height = canvas.height = 96 * devicePixelRatio;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.fillStyle = ink.color;
  const step = Math.max(one.length / width, 1);
  let x = 0, peak = 0, seen = 0;
  for (const part of one.parts) {
    for (const value of part) {
      peak = Math.max(peak, Math.abs(value));
      if (++seen >= (x + 1) * step) {
        context.fillRect(x, height / 2 * (1 - peak), 1, Math.max(height * peak, 1));
        peak = 0;
        x++;
      }
    }
  }
  const share = heard(one) * RATE / Math.max(one.length, 1);
  context.fillRect(Math.max(share, 0) * width, 0, 2 * devicePixelRatio, height);
}

function mark(one) {
  const now = heard(one);
  const word = one.words.find((w) => w.start <= now && now < w.end);
  if (word === one.marked) return;
  one.marked = word;
  const said = $("said");
  if (!word) { said.textContent = one.text; return; }
  // Places are counted in code points, strings here in UTF-16.
  const points = one.points;
  const shown = document.createElement("mark");
  shown.textContent = points.slice(word.text_start, word.text_end).join("");
  said.replaceChildren(points.slice(0, word.text_start).join(""), shown, points.slice(word.text_end).join(""));
}

function wav(one) {
  const data = new DataView(new ArrayBuffer(44 + 2 * one.length));
  const ascii = (at, text) => [...text].forEach((c, i) => data.setUint8(at + i, c.charCodeAt(0)));
  ascii(0, "RIFF"); data.setUint32(4, 36 + 2 * one.length, true); ascii(8, "WAVEfmt "); data.setUint32(16, 16, true);
  data.setUint16(20, 1, true); data.setUint16(22, 1, true); data.setUint32(24, RATE, true);
  data.setUint32(28, 2 * RATE, true); data.setUint16(32, 2, true); data.setUint16(34, 16, true);
  ascii(36, "data"); data.setUint32(40, 2 * one.length, true);
  let at = 44;
  for (const part of one.parts) for (const x of part) { data.setInt16(at, Math.round(x * 32768), true); at += 2; }
  return new Blob([data], { type: "audio/wav" });
}

function clock(seconds) {
  const ms = Math.round(seconds * 1000), two = (n) => String(n).padStart(2, "0");
  return `${two(Math.floor(ms / 3600000))}:${two(Math.floor(ms / 60000) % 60)}:${two(Math.floor(ms / 1000) % 60)},${
    String(ms % 1000).padStart(3, "0")}`;
}

function subtitles(one) {
  const lines = [];
  for (const word of one.words) {
    const last = lines.at(-1);
    if (last && last.text.length + word.word.length < 42 && word.end - last.start < 6) {
      last.text += ` ${word.word}`;
      last.end = word.end;
    } else lines.push({ text: word.word, start: word.start, end: word.end });
  }
  const cues = lines.map((l, i) => `${i + 1}\n${clock(l.start)} --> ${clock(l.end)}\n${l.text}\n`);
  return new Blob([cues.join("\n")], { type: "application/x-subrip" });
}

function offer(link, blob) {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.hidden = false;
}

function stop() {
  if (!speech) return;
  speech.abort.abort();
  speech.audio.close();
  cancelAnimationFrame(speech.frame);
  speech = null;
  $("stop").disabled = true;
}

async function speak(event) {
  event.preventDefault();
  stop();
  const text = $("text").value;
  const one = speech = { abort: new AbortController(), audio: new AudioContext({ sampleRate: RATE }), parts: [], length: 0,
    begun: null, scheduled: 0, words: [], marked: undefined, text, points: [...text], frame: 0, whole: false };
  $("stop").disabled = false;
  $("wav").hidden = $("srt").hidden = true;
  $("said").textContent = text;
  say("Speaking …");
  const tick = () => {
    draw(one);
    mark(one);
    if (one.whole && one.audio.currentTime - one.begun > one.length / RATE) {
      say(`${(one.length / RATE).toFixed(1)} s, first sound after ${one.first} ms`);
      $("stop").disabled = true;
    } else one.frame = requestAnimationFrame(tick);
  };
  one.frame = requestAnimationFrame(tick);
  const asked = performance.now();
  try {
    await one.audio.resume();
    const response = await fetch("v1/audio/speech",
      { method: "POST", headers: headers(), body: JSON.stringify(request()), signal: one.abort.signal });
    if (!response.ok) throw new Error(await faultOf(response));
    for await (const message of events(response.body)) {
      if (message.type === "speech.audio.timestamps") one.words.push(...message.words);
      if (message.type === "error") throw new Error(message.error.message);
      if (message.type === "speech.audio.delta") {
        if (one.first === undefined) one.first = Math.round(performance.now() - asked);
        play(one, samplesOf(message.audio));
      }
    }
    one.whole = true;
    offer($("wav"), wav(one));
    offer($("srt"), subtitles(one));
  } catch (error) {
    if (speech !== one) return; // stopped by hand
    stop();
    say(error.message, true);
  }
}

$("form").addEventListener("submit", speak);
$("stop").addEventListener("click", () => { stop(); say("Stopped."); });
$("speed").addEventListener("input", () => { $("speed-shown").textContent = Number($("speed").value).toFixed(2); });
$("key").addEventListener("change", listVoices);
listVoices().catch((error) => say(error.message, true));
